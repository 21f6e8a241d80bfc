"""Control mappings: which parts of a report support evidence for which control of a framework.

They are data files beside this module, one per framework, each with its source, its version, the
day it was recorded and what it rests on. A mapping never says more than "supports evidence for":
whether a control is met is for an auditor to say.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from audit.errors import ConfigurationError

MAPPING_ID = "inference-audit-controls"
MAPPING_VERSION = "2026-11-21"
CONTROL_MAPPING = f"{MAPPING_ID}/{MAPPING_VERSION}"
"""What a report's `control_mapping` says when it uses these files."""

FRAMEWORKS = ("eu-ai-act", "iso-42001", "nist-ai-rmf", "soc-2")

#: Sections of the HTML report, in order: the anchors that a mapping may name.
SECTIONS: Mapping[str, str] = {
    "answer": "In short",
    "scope": "Scope",
    "counts": "Verdicts",
    "evidence": "Evidence over time",
    "verdicts": "By provider and model",
    "failed": "Failed verdicts",
    "inconclusive": "Inconclusive verdicts",
    "completeness": "Completeness",
    "meters": "Billed reasoning tokens",
    "sweeps": "Sweeps of endpoints",
    "intervals": "Estimates and intervals",
    "blind-spots": "What could not be seen",
    "tokens": "Chosen exchanges, token by token",
    "yardsticks": "Policies, calibrations, runners",
    "keys": "Keys and other events",
    "log": "The log and its checkpoints",
    "verify": "How to verify this report",
    "controls": "Control mapping",
    "limits": "Limits",
    "glossary": "Glossary",
    "entries": "Entries named here",
}

_CONFIDENCES = frozenset({"high", "medium", "low"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control and what the report contributes to it."""

    control_id: str
    oscal_id: str
    """The same as an OSCAL token."""
    title: str
    """Our own paraphrase."""
    contribution: str
    sections: tuple[str, ...]
    """Anchors of the report, see `SECTIONS`."""
    confidence: str
    """How sure we are of the mapping: high, medium or low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """A law, standard or framework with the controls that the report bears on."""

    framework_id: str
    name: str
    source: str
    source_version: str
    recorded_on: str
    """Day on which the mapping was written down."""
    basis: str
    """What the mapping rests on, and what has to be checked before relying on it."""
    controls: tuple[Control, ...]


@cache
def load_frameworks() -> tuple[Framework, ...]:
    """Return all mappings. Raises: ConfigurationError where an installed file is damaged."""
    folder = resources.files("audit.reports") / "controls"
    return tuple(
        parse_framework((folder / f"{name}.toml").read_text(encoding="utf-8"), origin=name)
        for name in FRAMEWORKS
    )


def frameworks_of(control_mapping: str | None) -> tuple[Framework, ...]:
    """Return the mappings that a report names: these files, or none.

    Raises: ConfigurationError where it names others, which would render other words.
    """
    if control_mapping is None:
        return ()
    if control_mapping != CONTROL_MAPPING:
        raise ConfigurationError(
            f"the report names the control mapping {control_mapping!r}, and this installation has "
            f"{CONTROL_MAPPING}: render it with the version of inference-audit that collected it"
        )
    return load_frameworks()


def parse_framework(text: str, *, origin: str) -> Framework:
    """Return the mapping of one file; `origin` names it in errors. Raises: ConfigurationError."""
    try:
        data = tomllib.loads(text)
        return Framework(
            framework_id=_text(data, "id"),
            name=_text(data, "name"),
            source=_text(data, "source"),
            source_version=_text(data, "source_version"),
            recorded_on=_text(data, "recorded_on"),
            basis=_text(data, "basis"),
            controls=tuple(_control(item) for item in _tables(data, "controls")),
        )
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise ConfigurationError(
            f"the control mapping {origin} cannot be used: {error}; install inference-audit again"
        ) from error


def _control(data: Mapping[str, object]) -> Control:
    sections = data.get("sections")
    if not isinstance(sections, list) or not sections:
        raise ValueError("sections must be a list that names at least one section")
    unknown = [section for section in sections if section not in SECTIONS]
    if unknown:
        raise ValueError(f"no section of the report is called {unknown[0]}")
    confidence = _text(data, "confidence")
    if confidence not in _CONFIDENCES:
        raise ValueError(f"confidence must be high, medium or low, not {confidence}")
    return Control(
        control_id=_text(data, "id"),
        oscal_id=_text(data, "oscal_id"),
        title=_text(data, "title"),
        contribution=_text(data, "contribution"),
        sections=tuple(sections),
        confidence=confidence,
    )


def _text(data: Mapping[str, object], member: str) -> str:
    value = data.get(member)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{member} must be a text")
    return value


def _tables(data: Mapping[str, object], member: str) -> list[Mapping[str, object]]:
    value = data.get(member)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{member} must be a list of tables")
    return value
