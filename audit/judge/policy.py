"""Policies: what an audit promises, tolerates and concludes, as a versioned TOML file with an id.

A policy states every value; nothing is filled in from elsewhere, so two auditors with the same
policy id judge by the same rules.
"""

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import rfc8785

from audit import policies
from audit.errors import ConfigurationError
from audit.findings import Disposition
from reference_runner.precision import PRECISIONS

FORMAT = "inference-audit/policy/v1"

DEFAULT_PATH = Path(policies.__file__).with_name("default.toml")

#: A larger file is refused; a policy with all its comments takes a few kilobytes.
MAX_FILE_BYTES = 64 << 10
MAX_NAME_CHARS = 100

#: Rounded copies of a model that a diagnosis can try, each also the name of an explanation.
ROUNDED_COPIES = ("int4-g32", "int4-g128", "int8-g32", "fp8-e4m3", "kv-fp8-e4m3")

#: What a diagnosis can name; a policy says of each what it means.
EXPLANATIONS = (
    *("temperature", "filters_off", "other_seed", "unseeded", "other_profile"),
    *("template", "system_prompt"),
    *ROUNDED_COPIES,
    *("sibling", "burst", "unknown"),
)

#: A billion tokens are beyond any audit, and below what JSON numbers hold exactly.
_MAX_COUNT = 10**9

_TABLES = {
    "": (
        *("format", "name", "version", "errors", "claim", "pass"),
        *("power", "detectors", "provider", "diagnosis"),
    ),
    "errors": ("false_alarm_rate", "calibration_share"),
    "claim": ("tolerated_precisions",),
    "pass": ("min_tokens", "min_variants", "max_noise_ratio", "max_blind_share"),
    "power": ("target",),
    "detectors": ("conditional", "provider_stream", "substituted_share", "routing"),
    "provider": ("tell_rate",),
    "diagnosis": ("enabled", "max_tokens", "rounded_copies", "dispositions"),
    "diagnosis.dispositions": EXPLANATIONS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisRules:
    """How a FAIL is explained, and what each explanation means to the buyer."""

    is_enabled: bool
    max_tokens: int
    """Replayed at most under rival explanations."""
    rounded_copies: tuple[str, ...]
    dispositions: tuple[tuple[str, Disposition], ...]
    """One for each of `EXPLANATIONS`, in that order."""

    def disposition_of(self, name: str) -> Disposition:
        """Return what an explanation means. Raises: KeyError where `EXPLANATIONS` lacks it."""
        return dict(self.dispositions)[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules behind a verdict; rates and shares are fractions of 1."""

    name: str
    version: int
    false_alarm_rate: float
    """Of honest exchanges; and, separately, of honest providers over all time."""
    calibration_share: float
    """Part of the false-alarm rate that pays for the calibration's own uncertainty."""
    tolerated_precisions: tuple[str, ...]
    """Accepted beside the claimed one."""
    min_tokens: int
    min_variants: int
    max_noise_ratio: float
    """A provider whose noise lies below so many times that of honest traffic passes early."""
    max_blind_share: float
    """Share of replaced tokens that a pass must mostly have seen."""
    power_target: float
    """The probability behind "could have seen"."""
    has_conditional: bool
    has_provider_stream: bool
    has_substituted_share: bool
    has_routing: bool
    tell_rate: float
    """An exchange is a tell where its e-value reaches one over this."""
    diagnosis: DiagnosisRules

    @property
    def policy_id(self) -> str:
        """Return `sha256:<hex>` of the content as RFC 8785 JSON."""
        return f"sha256:{hashlib.sha256(rfc8785.dumps(self.content())).hexdigest()}"

    @property
    def test_rate(self) -> float:
        """The false-alarm rate left for the test itself."""
        return self.false_alarm_rate * (1.0 - self.calibration_share)

    @property
    def calibration_rate(self) -> float:
        """The chance allowed for the calibration's bounds being wrong."""
        return self.false_alarm_rate * self.calibration_share

    @property
    def log_threshold_nats(self) -> float:
        """The log e-value at which an exchange or a provider is failed."""
        return -math.log(self.test_rate)

    def accepts_precision(self, replayed: str, claimed: str) -> bool:
        """Return whether an exchange may be judged at this reference precision."""
        return replayed == claimed or replayed in self.tolerated_precisions

    def content(self) -> dict[str, Any]:
        """Return what a file of this policy states, parsed; the id is its digest."""
        rules = self.diagnosis
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "errors": {
                "false_alarm_rate": self.false_alarm_rate,
                "calibration_share": self.calibration_share,
            },
            "claim": {"tolerated_precisions": list(self.tolerated_precisions)},
            "pass": {
                "min_tokens": self.min_tokens,
                "min_variants": self.min_variants,
                "max_noise_ratio": self.max_noise_ratio,
                "max_blind_share": self.max_blind_share,
            },
            "power": {"target": self.power_target},
            "detectors": {
                "conditional": self.has_conditional,
                "provider_stream": self.has_provider_stream,
                "substituted_share": self.has_substituted_share,
                "routing": self.has_routing,
            },
            "provider": {"tell_rate": self.tell_rate},
            "diagnosis": {
                "enabled": rules.is_enabled,
                "max_tokens": rules.max_tokens,
                "rounded_copies": list(rules.rounded_copies),
                "dispositions": {name: str(meaning) for name, meaning in rules.dispositions},
            },
        }


def load_policy(path: Path | None = None) -> Policy:
    """Return the policy of a TOML file, or the bundled one. Raises: ConfigurationError."""
    source = DEFAULT_PATH if path is None else path
    document = _parse(_read(source), source)
    if document.get("format") != FORMAT:
        raise ConfigurationError(
            f'{source} is no policy: it lacks the line format = "{FORMAT}"; start from a copy of '
            f"{DEFAULT_PATH}"
        )
    return _policy(_Table(source, "", document))


def _read(source: Path) -> str:
    try:
        with source.open("rb") as file:
            # not by its stated size: devices and pipes state none
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the policy {source}: {error.strerror}; name a TOML file"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(
            f"{source} is larger than any policy ({MAX_FILE_BYTES >> 10} KiB); name another file"
        )
    try:
        # some editors put a byte-order mark first
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the policy {source} is no UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def _parse(text: str, source: Path) -> dict[str, Any]:
    if not text.strip():
        raise ConfigurationError(
            f"the policy {source} is empty; start from a copy of {DEFAULT_PATH}"
        )
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError(
            f"the policy {source} is nested too deeply; start from a copy of {DEFAULT_PATH}"
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"the policy {source} is not valid TOML: {error}; mend that place"
        ) from error


def _policy(root: "_Table") -> Policy:
    errors, passing, detectors = root.table("errors"), root.table("pass"), root.table("detectors")
    if not detectors.flag("conditional"):
        detectors.refuse("conditional", "must be true: every verdict rests on it")
    return Policy(
        name=root.text("name"),
        version=root.whole("version"),
        false_alarm_rate=errors.number("false_alarm_rate", 1e-9, 0.5),
        calibration_share=errors.number("calibration_share", 0.01, 0.9),
        tolerated_precisions=root.table("claim").names("tolerated_precisions", PRECISIONS),
        min_tokens=passing.whole("min_tokens"),
        min_variants=passing.whole("min_variants"),
        max_noise_ratio=passing.number("max_noise_ratio", 1e-6, 100.0),
        max_blind_share=passing.number("max_blind_share", 1e-6, 1.0),
        power_target=root.table("power").number("target", 0.5, 0.999),
        has_conditional=True,
        has_provider_stream=detectors.flag("provider_stream"),
        has_substituted_share=detectors.flag("substituted_share"),
        has_routing=detectors.flag("routing"),
        tell_rate=root.table("provider").number("tell_rate", 1e-6, 0.5),
        diagnosis=_diagnosis(root.table("diagnosis")),
    )


def _diagnosis(table: "_Table") -> DiagnosisRules:
    dispositions = table.table("dispositions")
    return DiagnosisRules(
        is_enabled=table.flag("enabled"),
        max_tokens=table.whole("max_tokens"),
        rounded_copies=table.names("rounded_copies", ROUNDED_COPIES),
        dispositions=tuple((name, dispositions.disposition(name)) for name in EXPLANATIONS),
    )


class _Table:
    """One table of a policy file, read by type; a bad value is refused by its name."""

    def __init__(self, source: Path, name: str, values: Mapping[str, Any]) -> None:
        self._source = source
        self._name = name
        self._values = values
        known = _TABLES[name]
        for key in values:
            if key not in known:
                self.refuse(key, f"is not known here; known are: {', '.join(known)}")
        for key in known:
            if key not in values:
                self.refuse(key, f"is missing; a policy states every value, see {DEFAULT_PATH}")

    def refuse(self, key: str, problem: str) -> NoReturn:
        path = f"{self._name}.{key}" if self._name else key
        raise ConfigurationError(f"the policy {self._source}: {_short(path)} {problem}")

    def table(self, key: str) -> "_Table":
        values = self._values[key]
        if not isinstance(values, dict):
            self.refuse(key, f"must be a table, found {_found(values)}")
        return _Table(self._source, f"{self._name}.{key}" if self._name else key, values)

    def flag(self, key: str) -> bool:
        value = self._values[key]
        if not isinstance(value, bool):
            self.refuse(key, f"must be true or false, found {_found(value)}")
        return value

    def whole(self, key: str) -> int:
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_COUNT:
            self.refuse(
                key, f"must be a whole number from 1 to {_MAX_COUNT}, found {_found(value)}"
            )
        return value

    def number(self, key: str, lowest: float, highest: float) -> float:
        value = self._values[key]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # written so that NaN, which TOML can state, fails too
        if not is_number or not lowest <= value <= highest:
            self.refuse(
                key, f"must be a number from {lowest:g} to {highest:g}, found {_found(value)}"
            )
        return float(value)

    def text(self, key: str) -> str:
        value = self._values[key]
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.refuse(key, f"must be a line of text, found {_found(value)}")
        if len(value) > MAX_NAME_CHARS:
            self.refuse(key, f"has {len(value)} characters; {MAX_NAME_CHARS} are allowed")
        return value

    def names(self, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        values = self._values[key]
        if not isinstance(values, list):
            self.refuse(key, f"must be a list, found {_found(values)}")
        for value in values:
            if value not in known:
                self.refuse(key, f"may hold {', '.join(known)}; found {_found(value)}")
        if len(set(values)) < len(values):
            self.refuse(key, "names something twice; leave one out")
        return tuple(values)

    def disposition(self, key: str) -> Disposition:
        value = self._values[key]
        if not isinstance(value, str) or value not in list(Disposition):
            self.refuse(key, f"must be one of {', '.join(Disposition)}; found {_found(value)}")
        return Disposition(value)


def _found(value: Any) -> str:
    """Return a value in a few characters, whatever it is."""
    if isinstance(value, str):
        return f'"{_short(value)}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        # Python refuses to print the largest ones
        return "a very large number"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return "a date or time"


def _short(text: str) -> str:
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    return shown if shown.isprintable() else ascii(shown)[1:-1]
