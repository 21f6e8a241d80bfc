"""Cut deterministic, disjoint prompts from the source text of Python's own standard library.

Every function or class heading of the library may start a prompt; the last lines of its files are
prompts that a model may well end by itself. The first tokens of a candidate
are hashed into one of `NUM_BUCKETS` buckets, and each recorded file owns one bucket, so no two
files can share a prompt and each file can be recorded again alone. The choice depends only on the
interpreter version and on the tokenizer.

`cut_other_prompts` cuts prompts from text that is no Python: licences and Perl manuals of a Debian
system.

Not run by itself; `record.py` imports it.
"""

import hashlib
import random
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

NUM_BUCKETS = 16
NUM_TOKENS_MIN = 16
NUM_TOKENS_MAX = 120
NUM_CANDIDATES_PER_FILE = 10
NUM_CHARACTERS_READ = 700
NUM_TOKENS_UNSAID_MAX = 3
NUM_PARAGRAPHS_PER_FILE = 200
HEADING = re.compile(r"^[ ]*((?:async )?def |class )", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt as text and as the token ids of that text."""

    text: str
    token_ids: list[int]


def _bucket(opening: str) -> int:
    """Return the bucket of a prompt that begins with `opening`."""
    return int.from_bytes(hashlib.sha256(opening.encode()).digest()[:4]) % NUM_BUCKETS


def _library_files() -> list[Path]:
    """Return all source files of the standard library, in a fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    return sorted(p for p in root.rglob("*.py") if "site-packages" not in p.parts)


def _snippets() -> Iterator[str]:
    """Yield openings of functions and classes, a few per library file, in a fixed order."""
    rng = random.Random(0)
    found: list[str] = []
    for path in _library_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        starts = [m.start(1) for m in HEADING.finditer(text)]
        picked = rng.sample(starts, min(NUM_CANDIDATES_PER_FILE, len(starts)))
        found.extend(text[s : s + NUM_CHARACTERS_READ] for s in picked)
    rng.shuffle(found)
    yield from found


def _prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> Prompt:
    """Return a prompt with the ids that a server would give its text."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return Prompt(text=text, token_ids=ids)


def cut_prompts(
    tokenizer: PreTrainedTokenizerBase, bucket: int, count: int, num_skipped: int = 0
) -> list[Prompt]:
    """Return `count` different prompts of one bucket, 16 to 120 tokens long.

    The first `num_skipped` prompts of the bucket are left to others.

    Raises:
        ValueError: if the library does not hold that many prompts of the bucket.
    """
    wanted = num_skipped + count
    rng = random.Random(bucket)
    seen: set[str] = set()
    prompts: list[Prompt] = []
    for snippet in _snippets():
        if len(prompts) == wanted:
            break
        ids: list[int] = tokenizer.encode(snippet, add_special_tokens=False)
        opening = str(tokenizer.decode(ids[:NUM_TOKENS_MIN]))
        if opening in seen or _bucket(opening) != bucket:
            continue
        seen.add(opening)
        text = str(tokenizer.decode(ids[: rng.randint(NUM_TOKENS_MIN, NUM_TOKENS_MAX)]))
        if "\ufffd" not in text:
            prompts.append(_prompt(tokenizer, text))
    if len(prompts) < wanted:
        raise ValueError(f"only {len(prompts)} of {wanted} prompts in bucket {bucket}")
    return prompts[num_skipped:]


def cut_endings(tokenizer: PreTrainedTokenizerBase, bucket: int) -> Iterator[Prompt]:
    """Yield last lines of library files, less a few tokens, that fall into one bucket."""
    rng = random.Random(f"endings {bucket}")
    files = _library_files()
    rng.shuffle(files)
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        ids: list[int] = tokenizer.encode(text[-NUM_CHARACTERS_READ:], add_special_tokens=False)
        unsaid = rng.randint(0, NUM_TOKENS_UNSAID_MAX)
        kept = ids[: len(ids) - unsaid][-NUM_TOKENS_MAX:]
        ending, opening = (
            str(tokenizer.decode(kept)),
            str(tokenizer.decode(kept[:NUM_TOKENS_MIN])),
        )
        long_enough = len(kept) >= NUM_TOKENS_MIN
        if long_enough and "\ufffd" not in ending and _bucket(opening) == bucket:
            yield _prompt(tokenizer, ending)


def _paragraphs() -> Iterator[str]:
    """Yield paragraphs of licences and of Perl's own modules, in a fixed order."""
    roots = (Path("/usr/share/common-licenses"), *sorted(Path("/usr/share/perl").glob("5.*.*")))
    found: dict[str, None] = {}
    for root in roots:
        for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
            if root.name.startswith("5.") and path.suffix not in (".pm", ".pod"):
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            parts = re.split(r"\n\s*\n", text)
            found |= dict.fromkeys(p.strip() for p in parts[:NUM_PARAGRAPHS_PER_FILE] if p.strip())
    paragraphs = list(found)
    random.Random(0).shuffle(paragraphs)
    yield from paragraphs


def cut_other_prompts(
    tokenizer: PreTrainedTokenizerBase, bucket: int, count: int, num_skipped: int = 0
) -> list[Prompt]:
    """Return `count` different prompts of one bucket from text that is no Python.

    The first `num_skipped` prompts of the bucket are left to others.

    Raises:
        ValueError: if this system does not hold that many.
    """
    wanted = num_skipped + count
    rng = random.Random(f"other {bucket}")
    prompts: list[Prompt] = []
    for paragraph in _paragraphs():
        ids: list[int] = tokenizer.encode(paragraph, add_special_tokens=False)
        opening = str(tokenizer.decode(ids[:NUM_TOKENS_MIN]))
        if len(ids) < NUM_TOKENS_MIN or _bucket(opening) != bucket:
            continue
        text = str(tokenizer.decode(ids[: rng.randint(NUM_TOKENS_MIN, NUM_TOKENS_MAX)]))
        if "\ufffd" not in text:
            prompts.append(_prompt(tokenizer, text))
        if len(prompts) == wanted:
            return prompts[num_skipped:]
    raise ValueError(f"only {len(prompts)} of {wanted} prompts in bucket {bucket}")
