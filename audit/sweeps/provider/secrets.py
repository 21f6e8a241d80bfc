"""API keys: found where a reference says, sent in one header, and kept out of everything else.

A key never becomes part of a record, a log line or an error. An endpoint may echo it; `Secret`
therefore takes it out of any text, also where the text writes it in another common spelling.
"""

import base64
import html
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from audit.errors import ConfigurationError

MARK = "[key removed]"

#: A shorter key would be found in texts that have nothing to do with it.
MIN_KEY_CHARS = 8
MAX_KEY_CHARS = 1024

#: The beginning of a key counts as the key from this length on, where a text was cut off in it.
MIN_CUT_CHARS = 4

_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")
_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_INVISIBLE = re.compile(r"[\x00-\x20\x7f\u00ad\u200b-\u200f\ufeff]+")

#: What the HTTP library logs at its lowest level includes the headers of answers.
_HTTP_LOGGERS = (
    *("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2"),
    *("httpcore2.proxy", "httpcore2.socks"),
)

ReadText = Callable[[Path], str]


class Secret:
    """A key that shows itself only to `reveal`."""

    __slots__ = ("_spellings", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        raw = value.encode("ascii")
        spelled = {value, json.dumps(value)[1:-1], value.replace("/", "\\/"), html.escape(value)}
        spelled |= {quote(value, safe=""), base64.b64encode(raw).decode(), raw.hex()}
        # the longest first: a shorter spelling may be a part of it
        self._spellings = sorted(spelled, key=lambda text: (-len(text), text))

    def __repr__(self) -> str:
        return "Secret(…)"

    def reveal(self) -> str:
        """Return the key, for the request header and nothing else."""
        return self._value

    def removed_from(self, text: str) -> str | None:
        """Return the text without the key; None where it hides in a way that cannot be cut out."""
        for spelling in self._spellings:
            text = text.replace(spelling, MARK)
        return None if self._value in _plain(text) else text

    def removed_from_end(self, text: str) -> str:
        """Return a text that was cut off without the beginning of a key that it ends with."""
        for spelling in self._spellings:
            for length in range(len(spelling) - 1, MIN_CUT_CHARS - 1, -1):
                if text.endswith(spelling[:length]):
                    return text[:-length]
        return text


class LogGuard(logging.Filter):
    """Takes keys out of the HTTP library's log lines while a client is open."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        super().__init__()
        self._secrets = tuple(secrets)

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record where it holds a key; always keeps it."""
        message = record.getMessage()
        cleaned = without_keys(message, self._secrets)
        if cleaned != message:
            record.msg, record.args = cleaned, ()
        return True

    def install(self) -> None:
        """Start to guard."""
        for name in _HTTP_LOGGERS:
            logging.getLogger(name).addFilter(self)

    def remove(self) -> None:
        """Stop to guard."""
        for name in _HTTP_LOGGERS:
            logging.getLogger(name).removeFilter(self)


class Keyring:
    """Resolves key references against the environment it is given, and files."""

    def __init__(self, environment: Mapping[str, str], read_text: ReadText | None = None) -> None:
        self._environment = environment
        self._read_text = read_text or _read_key_file

    def resolve(self, key_ref: str | None) -> Secret | None:
        """Return the key that `env:NAME` or `file:PATH` names; None without a reference.

        Raises: ConfigurationError where there is none, or it cannot be sent as a bearer key.
        """
        if key_ref is None:
            return None
        kind, _, place = key_ref.partition(":")
        if kind == "env" and place:
            value = self._environment.get(place)
            if value is None:
                raise ConfigurationError(
                    f"the environment variable {place} is not set; it should hold an API key"
                )
        elif kind == "file" and place:
            value = self._read(Path(place))
        else:
            # a wrong reference may be the key itself, so it is not repeated
            raise ConfigurationError(
                "a key reference must read env:NAME or file:PATH, and never be the key itself"
            )
        return _checked(value.strip(), key_ref)

    def _read(self, path: Path) -> str:
        try:
            return self._read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            # a decoding error quotes the file's bytes
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigurationError(f"cannot read the API key in {path}: {reason}") from None


def without_keys(text: str, secrets: Sequence[Secret]) -> str:
    """Return a text without any of the keys; one that cannot be cleaned is replaced as a whole."""
    for secret in secrets:
        cleaned = secret.removed_from(text)
        if cleaned is None:
            return MARK
        text = cleaned
    return text


def _read_key_file(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(MAX_KEY_CHARS + 64)


def _checked(value: str, key_ref: str) -> Secret:
    if not MIN_KEY_CHARS <= len(value) <= MAX_KEY_CHARS:
        raise ConfigurationError(
            f"the API key at {key_ref} has {len(value)} characters; "
            f"{MIN_KEY_CHARS} to {MAX_KEY_CHARS} are accepted"
        )
    if _HEADER_TEXT.fullmatch(value) is None:
        raise ConfigurationError(
            f"the API key at {key_ref} holds characters that no header may hold, such as spaces"
        )
    return Secret(value)


def _plain(text: str) -> str:
    """Return a text with the usual ways to write a character otherwise undone."""

    def character(match: re.Match[str]) -> Any:
        return chr(int(match[1], 16))

    undone = _JSON_ESCAPE.sub(character, text).replace("\\/", "/")
    return _INVISIBLE.sub("", unquote(html.unescape(undone)))
