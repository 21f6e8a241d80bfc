"""What is known about the meters of models: data with provenance, in `facts/meters.toml`.

Facts decide what cannot be in an honest bill, so each says where it was seen, when, and on how many
rows. A model without a fact is not checked by it, which the result then says.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from audit.billing_records import UsageSchema
from audit.errors import CalibrationError

_BUNDLED = Path(__file__).with_name("facts") / "meters.toml"

Table = Mapping[str, Any]
_Fact = TypeVar("_Fact", bound="Fact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Where something was seen."""

    source: str
    date: str
    num_rows: int
    """Rows that it was fitted or checked on; 0 where it is a vendor's statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope(Fact):
    """Tokens of an output that are neither reasoning nor visible: markers, and drafts.

    Some models write part of the answer twice, which is why the upper end grows with it.
    """

    low_tokens: int
    high_tokens: int
    visible_share: float

    def allowed(self, visible_tokens: int) -> tuple[int, int]:
        """Return the least and the most of them beside an answer of so many tokens."""
        return self.low_tokens, self.high_tokens + int(self.visible_share * visible_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice(Fact):
    """Reasoning is metered in whole steps."""

    step_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCap(Fact):
    """The most output tokens, reasoning included, that a model can be asked for."""

    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure(Fact):
    """How a billed count stands to the recount of a chain that is shown."""

    vocabulary: str
    low_ratio: float
    high_ratio: float
    slack_tokens: int

    def allowed(self, recount: int) -> tuple[int, int]:
        """Return the least and the most tokens billed for a chain of `recount` tokens."""
        low = int(self.low_ratio * recount) - self.slack_tokens
        return low, int(self.high_ratio * recount) + self.slack_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EnforcedBudget(Fact):
    """A schema's servers end the thinking at its budget, give or take the end marker."""

    schema: UsageSchema
    slack_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """All that is known about the meter of one model."""

    name: str
    family: str
    patterns: tuple[str, ...]
    """Shell patterns of model names, matched against the whole name."""
    vocabulary: str | None = None
    envelope: Envelope | None = None
    lattice: Lattice | None = None
    output_cap: OutputCap | None = None
    disclosure: Disclosure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyFacts(Fact):
    """A public tokenizer: which rank file, and how text is split before it."""

    name: str
    file_names: tuple[str, ...]
    sha256: str
    split_pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All facts; `version` names them in a calibration."""

    version: str
    models: tuple[ModelFacts, ...]
    vocabularies: tuple[VocabularyFacts, ...]
    budgets: tuple[EnforcedBudget, ...]

    def of(self, model: str) -> ModelFacts | None:
        """Return the facts of the first model one of whose patterns matches, or None."""
        for facts in self.models:
            if any(fnmatchcase(model, pattern) for pattern in facts.patterns):
                return facts
        return None

    def budget_of(self, schema: UsageSchema) -> EnforcedBudget | None:
        """Return how a schema's servers enforce thinking budgets, or None where they need not."""
        return next((budget for budget in self.budgets if budget.schema is schema), None)


@cache
def load_facts(path: Path | None = None) -> Facts:
    """Return the bundled facts, or those of another file. Raises: CalibrationError naming it."""
    path = _BUNDLED if path is None else path
    try:
        return parse_facts(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, CalibrationError) as error:
        raise CalibrationError(f"facts about meters, {path}: {error}") from error


def parse_facts(text: str) -> Facts:
    """Return the facts of a TOML text; unknown and missing keys are refused.

    Raises: CalibrationError naming the table; tomllib.TOMLDecodeError.
    """
    document = tomllib.loads(text)
    unknown = sorted(set(document) - {"version", "model", "vocabulary", "budget"})
    if unknown:
        raise CalibrationError(f"{unknown[0]} is no known table")
    facts = Facts(
        version=str(document.get("version", "")),
        models=tuple(_model(table) for table in document.get("model", [])),
        vocabularies=tuple(_vocabulary(table) for table in document.get("vocabulary", [])),
        budgets=tuple(_budget(table) for table in document.get("budget", [])),
    )
    _require_sound(facts)
    return facts


def _model(table: Table) -> ModelFacts:
    where = f"model {table.get('name', '?')}"

    def part(kind: type[_Fact], key: str) -> _Fact | None:
        return _build(kind, table[key], f"{where}, {key}") if key in table else None

    scalars = {key: table[key] for key in table if not isinstance(table[key], dict)}
    scalars["patterns"] = tuple(scalars.get("patterns", ()))
    tables = {
        "envelope": part(Envelope, "envelope"),
        "lattice": part(Lattice, "lattice"),
        "output_cap": part(OutputCap, "output_cap"),
        "disclosure": part(Disclosure, "disclosure"),
    }
    unknown = sorted(set(table) - set(scalars) - set(tables))
    if unknown:
        raise CalibrationError(f"{where}: {unknown[0]} is no known fact")
    return _build(ModelFacts, {**scalars, **tables}, where)


def _vocabulary(table: Table) -> VocabularyFacts:
    names = tuple(table.get("file_names", ()))
    where = f"vocabulary {table.get('name', '?')}"
    return _build(VocabularyFacts, {**table, "file_names": names}, where)


def _budget(table: Table) -> EnforcedBudget:
    try:
        schema = UsageSchema(str(table.get("schema")))
    except ValueError as error:
        raise CalibrationError(f"budget: {error}") from error
    return _build(EnforcedBudget, {**table, "schema": schema}, f"budget of {schema}")


_Record = TypeVar("_Record")


def _build(kind: type[_Record], members: Table, where: str) -> _Record:
    try:
        return kind(**members)
    except TypeError as error:
        raise CalibrationError(f"{where}: {error}") from error


def _require_sound(facts: Facts) -> None:
    if not facts.version:
        raise CalibrationError("version is missing")
    vocabularies = {vocabulary.name for vocabulary in facts.vocabularies}
    for model in facts.models:
        named = {model.vocabulary} | {model.disclosure and model.disclosure.vocabulary}
        missing = sorted(name for name in named if name and name not in vocabularies)
        if missing:
            raise CalibrationError(f"model {model.name}: no vocabulary is called {missing[0]}")
        if model.lattice is not None and model.lattice.step_tokens < 2:
            raise CalibrationError(f"model {model.name}: a lattice has steps of 2 tokens or more")
        if model.envelope is not None and model.vocabulary is None:
            raise CalibrationError(f"model {model.name}: an envelope needs a vocabulary")
        if not model.patterns:
            raise CalibrationError(f"model {model.name}: patterns are missing")
