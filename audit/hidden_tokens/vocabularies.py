"""Counts of tokens by public vocabularies, from rank files on disk that are known by digest.

Nothing is downloaded. Rank files come inside ordinary Python distributions (`litellm`, `dashscope`)
or from the vendor; the facts name their digests, so that a wrong file cannot pass as the right one.
"""

import base64
import binascii
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from audit.errors import ConfigurationError
from audit.hidden_tokens.facts import VocabularyFacts

if TYPE_CHECKING:
    import tiktoken


class TokenCounter(Protocol):
    """Whatever counts tokens by a vocabulary's name."""

    def count(self, vocabulary: str, text: str) -> int | None:
        """Return how many tokens `text` has, or None where the vocabulary is not at hand."""


#: Beyond these the tokenizer's regular expression overflows its stack, or takes minutes.
MAX_COUNTED_CHARS = 2_000_000
_LONG_BLANK = re.compile(r"\s{10000}")


class UncountableText(ValueError):
    """A text that no honest answer looks like, and that would bring the tokenizer down."""


class NoVocabularies:
    """A counter without any vocabulary: every recount is left unchecked, and says so."""

    def count(self, vocabulary: str, text: str) -> int | None:
        """Return None."""
        return None


class Vocabularies:
    """Counts by the rank files in one folder; each is read at its first use."""

    def __init__(self, folder: Path, facts: tuple[VocabularyFacts, ...]) -> None:
        self._folder = folder
        self._facts = {vocabulary.name: vocabulary for vocabulary in facts}
        self._encodings: dict[str, tiktoken.Encoding | None] = {}

    def count(self, vocabulary: str, text: str) -> int | None:
        """Return how many tokens `text` has, or None where the rank file is not there.

        Special tokens count as the plain text they are written in. Raises: UncountableText;
        ConfigurationError for an unknown name, a file with another digest, and where tiktoken is
        not installed.
        """
        if len(text) > MAX_COUNTED_CHARS:
            raise UncountableText(f"the text is longer than {MAX_COUNTED_CHARS:,} characters")
        if _LONG_BLANK.search(text):
            raise UncountableText("the text holds 10,000 blanks in a row")
        if vocabulary not in self._encodings:
            self._encodings[vocabulary] = self._load(vocabulary)
        encoding = self._encodings[vocabulary]
        return None if encoding is None else len(encoding.encode_ordinary(text))

    def _load(self, name: str) -> "tiktoken.Encoding | None":
        facts = self._facts.get(name)
        if facts is None:
            known = ", ".join(sorted(self._facts))
            raise ConfigurationError(f"no vocabulary is called {name}: choose among {known}")
        paths = [self._folder / file_name for file_name in facts.file_names]
        path = next((path for path in paths if path.is_file()), None)
        return None if path is None else load_encoding(path, facts)


def load_encoding(path: Path, facts: VocabularyFacts) -> "tiktoken.Encoding":
    """Return the encoding of a rank file.

    Raises: ConfigurationError where the file is unreadable or has another digest than the facts
    name, and where tiktoken is not installed.
    """
    try:
        import tiktoken
    except ImportError as error:
        raise ConfigurationError(
            "recounts need tiktoken: install inference-audit[tokens]"
        ) from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read the vocabulary {path}: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != facts.sha256:
        raise ConfigurationError(
            f"{path} is not the vocabulary {facts.name}: its SHA-256 is {digest}, "
            f"not {facts.sha256}"
        )
    return tiktoken.Encoding(
        facts.name,
        pat_str=facts.split_pattern,
        mergeable_ranks=_parse_ranks(content, path),
        special_tokens={},
    )


def _parse_ranks(content: bytes, path: Path) -> dict[bytes, int]:
    try:
        pairs = (line.split() for line in content.splitlines() if line)
        return {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except (ValueError, binascii.Error) as error:
        raise ConfigurationError(f"{path} is no rank file: {error}") from error
