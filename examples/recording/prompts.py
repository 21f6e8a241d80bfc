"""Cut deterministic, disjoint prompts from the source text of Python's own standard library.

Every function or class heading of the library may start a prompt. The first tokens of a candidate
are hashed into one of `NUM_BUCKETS` buckets, and each recorded file owns one bucket, so no two
files can share a prompt and each file can be recorded again alone. The choice depends only on the
interpreter version and on the tokenizer.

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
HEADING = re.compile(r"^[ ]*((?:async )?def |class )", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt as text and as the token ids of that text."""

    text: str
    token_ids: list[int]


def _bucket(opening: str) -> int:
    """Return the bucket of a prompt that begins with `opening`."""
    return int.from_bytes(hashlib.sha256(opening.encode()).digest()[:4]) % NUM_BUCKETS


def _snippets() -> Iterator[str]:
    """Yield openings of functions and classes, a few per library file, in a fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(p for p in root.rglob("*.py") if "site-packages" not in p.parts)
    rng = random.Random(0)
    found: list[str] = []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        starts = [m.start(1) for m in HEADING.finditer(text)]
        picked = rng.sample(starts, min(NUM_CANDIDATES_PER_FILE, len(starts)))
        found.extend(text[s : s + NUM_CHARACTERS_READ] for s in picked)
    rng.shuffle(found)
    yield from found


def cut_prompts(tokenizer: PreTrainedTokenizerBase, bucket: int, count: int) -> list[Prompt]:
    """Return `count` different prompts of one bucket, 16 to 120 tokens long.

    Raises:
        ValueError: if the library does not hold that many prompts of the bucket.
    """
    rng = random.Random(bucket)
    seen: set[str] = set()
    prompts: list[Prompt] = []
    for snippet in _snippets():
        if len(prompts) == count:
            return prompts
        ids: list[int] = tokenizer.encode(snippet, add_special_tokens=False)
        opening = str(tokenizer.decode(ids[:NUM_TOKENS_MIN]))
        if opening in seen or _bucket(opening) != bucket:
            continue
        seen.add(opening)
        text = str(tokenizer.decode(ids[: rng.randint(NUM_TOKENS_MIN, NUM_TOKENS_MAX)]))
        if "\ufffd" not in text:
            own_ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
            prompts.append(Prompt(text=text, token_ids=own_ids))
    if len(prompts) < count:
        raise ValueError(f"only {len(prompts)} of {count} prompts in bucket {bucket}")
    return prompts
