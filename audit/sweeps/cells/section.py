"""The part of an honest bundle that says what comes to honest endpoints in each cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.errors import CalibrationError
from audit.sweep_records import ApiStyle, Probed
from audit.sweeps.cells.cells import Law, token_of
from audit.sweeps.cells.ranks import Cell, feature_names
from audit.sweeps.detector import Section
from audit.sweeps.text import power, samples
from audit.sweeps.text.calibrate import SectionReader

CELLS_ID = "one-token-cells/1"

_MEMBERS = ("settings", "api", "cells", "attacks", "bounds", "tellRates", "power", "variants")

#: Far more cells or tokens than any calibration asks for.
_MOST_CELLS, _MOST_TOKENS = 4096, 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSettings:
    """What is asked, and what counts as a sign; a calibration holds for its own settings only."""

    num_cells: int = 24
    temperature: float = 1.0
    tell_level: float = 0.1
    """A conformal rank up to this is a tell."""
    margin: float = 0.01
    """Honest bounds are raised by this part of themselves: days differ more than hours do."""

    def members(self) -> dict[str, object]:
        """Return the settings as JSON members."""
        return {
            "numCells": self.num_cells,
            "temperature": self.temperature,
            "tellLevel": self.tell_level,
            "margin": self.margin,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTable:
    """A section as read."""

    api: ApiStyle
    cells: tuple[Cell, ...]
    attacks: tuple[str, ...]
    bounds: Mapping[str, float]
    """Of each feature's mean, and of the rate of tells under `tell`."""
    tell_rates: Mapping[str, float]
    power: power.PowerTable

    def answers(self, probed: Sequence[Probed]) -> list[tuple[Probed, Cell, str]]:
        """Return the usable answers to these cells, in order, with their cells and tokens."""
        by_prompt = {cell.prompt: cell for cell in self.cells}
        found = []
        for item in probed:
            cell, token = by_prompt.get(samples.prompt_of(item.probe)), token_of(item.answer)
            if item.probe.detector == CELLS_ID and cell is not None and token is not None:
                found.append((item, cell, token))
        return found


def read_section(section: Section, settings: CellSettings) -> CellTable:
    """Return what a section holds. Raises: CalibrationError where it is not as it is written."""
    reader = SectionReader(section, CELLS_ID).members(*_MEMBERS)
    reader.settings(settings.members())
    attacks = _names(reader, section["attacks"])
    try:
        api = ApiStyle(str(section["api"]))
    except ValueError as error:
        raise reader.error("api must be completions or chat") from error
    cells = section["cells"]
    if not isinstance(cells, list) or not 0 < len(cells) <= _MOST_CELLS:
        raise reader.error("cells must be a list of one or more")
    table = tuple(_cell(cell, index, attacks) for index, cell in enumerate(cells))
    if len({cell.prompt for cell in table}) < len(table):
        raise reader.error("cells must have different prompts")
    bounded = (*feature_names(attacks), "tell")
    bounds = dict(zip(bounded, reader.rates("bounds", bounded), strict=True))
    rates = reader.mapping("tellRates")
    if set(rates) != set(attacks):
        raise reader.error("tellRates must name the attacks")
    return CellTable(
        api=api,
        cells=table,
        attacks=attacks,
        bounds=bounds,
        tell_rates={
            name: reader.as_number(rates[name], f"tellRates.{name}", 0.0, 1.0) for name in attacks
        },
        power=power.read_power(reader),
    )


def _cell(value: object, index: int, attacks: Sequence[str]) -> Cell:
    where = f"{CELLS_ID}, cells[{index}]"
    if not isinstance(value, Mapping):
        raise CalibrationError(f"the bundle's section {where}: must be an object")
    reader = SectionReader(value, where).members("prompt", "baseline", "honest", "attacks")
    prompt = value["prompt"]
    if not isinstance(prompt, str) or not prompt:
        raise reader.error("prompt must be a text that is not empty")
    laws = reader.mapping("attacks")
    if set(laws) != set(attacks):
        raise reader.error("attacks must be those that the section names")
    baseline: dict[str, int] = {}
    for variant in sorted(reader.mapping("baseline")):
        counts = reader.nested("baseline").mapping(variant)
        for token in sorted(counts):
            count = reader.as_number(counts[token], f"baseline.{variant}", 1, _MOST_TOKENS)
            if count != int(count):
                raise reader.error(f"baseline.{variant} must hold whole numbers")
            baseline[token] = baseline.get(token, 0) + int(count)
    if not baseline:
        raise reader.error("baseline must hold counts of one variant at least")
    nested = reader.nested("attacks")
    return Cell(
        prompt=prompt,
        baseline=baseline,
        honest=_law(reader, "honest"),
        attacks={name: _law(nested, name) for name in attacks},
    )


def _law(reader: SectionReader, name: str) -> Law:
    values = reader.mapping(name)
    law = {
        token: reader.as_number(values[token], f"{name}, a probability", 0.0, 1.0)
        for token in sorted(values)
    }
    if sum(law.values()) > 1.001:
        raise reader.error(f"{name} must hold probabilities that sum to 1 at most")
    return law


def _names(reader: SectionReader, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise reader.error("attacks must be a list of names")
    if value != sorted(set(value)):
        raise reader.error("attacks must be different and in order")
    return tuple(value)
