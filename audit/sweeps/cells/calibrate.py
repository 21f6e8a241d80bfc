"""Counts what honest endpoints say in each cell: the baseline, and the bounds that follow.

Half of each variant's answers become the frozen baseline, the other half measures what honest
endpoints show against it; so the bounds hold for this very baseline. Cells weigh the same in both
halves, as they do in runs.

Legend: N answers, F features.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.errors import CalibrationError
from audit.sweep_records import ApiStyle, Probed
from audit.sweeps.cells.cells import (
    Law,
    law_of_counts,
    law_of_model,
    on_common_tokens,
    rest_of,
    token_of,
)
from audit.sweeps.cells.ranks import Cell, feature_names, feature_weights, features_of
from audit.sweeps.cells.section import CELLS_ID, CellSettings
from audit.sweeps.detector import HonestAnswers, Section, Tools
from audit.sweeps.text import calibrate, power, samples
from audit.sweeps.text.rank import text_grid

Float64Array = NDArray[np.float64]

#: Fewer answers of a variant to a cell make no baseline.
MIN_PER_CELL = 10

#: Tokens of a cell that are drawn from a candidate's law to see how it fares.
_NUM_DRAWN = 60

#: A variant's answers by cell: prompt to tokens in order.
Said = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCalibrator:
    """Counts tokens by cell for each honest variant; weights are needed for candidates only."""

    tools: Tools
    settings: CellSettings = field(default_factory=CellSettings)
    attacks: HonestAnswers | None = None
    """Answers of substitutes to the same cells; None takes the candidates' own laws."""

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return the baseline, and bounds that hold for all variants with probability 1 - error.

        Raises: CalibrationError.
        """
        calibrate.check_error(error)
        said = {name: _said(honest[name]) for name in sorted(honest)}
        prompts, api = _cells_of(honest, said)
        laws, tried = self._attacks(prompts, api, said)
        cells = [self._cell(prompt, api, said, laws) for prompt in prompts]
        held_out = {name: _held_out(cells, own) for name, own in said.items()}
        names = sorted(laws)
        bounds = self._bounds(held_out, names, error)
        features = {name: features_of(rows, names) for name, rows in held_out.items()}
        pooled_NF = np.concatenate([features[name] for name in sorted(features)])
        by_prompt = {cell.prompt: cell for cell in cells}
        attacked = {
            name: [(by_prompt[prompt], token) for prompt, token in tried[name]] for name in names
        }
        table = {
            name: power.needed_requests(
                pooled_NF,
                features_of(attacked[name], names),
                bounds_F=[bounds[feature] for feature in feature_names(names)],
                weights_F=feature_weights(names),
                grid=text_grid(),
                log_threshold_nats=self.tools.log_threshold_nats,
                power=self.tools.power,
            )
            for name in names
        }
        return {
            "settings": self.settings.members(),
            "api": api.value,
            "cells": [_members(cell, said) for cell in cells],
            "attacks": names,
            "bounds": bounds,
            "tellRates": {name: float(self._tells(attacked[name]).mean()) for name in names},
            "power": power.power_json(table),
            "variants": {name: sum(map(len, own.values())) for name, own in said.items()},
        }

    def _attacks(
        self, prompts: Sequence[str], api: ApiStyle, said: Mapping[str, Said]
    ) -> tuple[dict[str, dict[str, Law]], dict[str, list[tuple[str, str]]]]:
        """Return each attack's law by cell, and tokens that it said beside what made the law."""
        laws: dict[str, dict[str, Law]] = {}
        tried: dict[str, list[tuple[str, str]]] = {}
        if self.attacks is None:
            for name, model in sorted(self.tools.candidates.items()):
                laws[name] = {p: law_of_model(model, samples.as_prompt(p, api)) for p in prompts}
                tried[name] = [(p, token) for p in prompts for token in _drawn(laws[name][p], p)]
            return laws, tried
        for name, probed in sorted(self.attacks.items()):
            own = _said(probed)
            if any(len(own.get(prompt, ())) < MIN_PER_CELL for prompt in prompts):
                raise CalibrationError(
                    f"the substitute {name!r} answered some cell less than {MIN_PER_CELL} times; "
                    "ask it what the honest variants were asked"
                )
            laws[name] = {prompt: law_of_counts(own[prompt][::2]) for prompt in prompts}
            tried[name] = [(p, token) for p in prompts for token in own[p][1::2]]
        return laws, tried

    def _cell(
        self,
        prompt: str,
        api: ApiStyle,
        said: Mapping[str, Said],
        laws: Mapping[str, Mapping[str, Law]],
    ) -> Cell:
        baseline: Counter[str] = Counter()
        for own in said.values():
            baseline.update(own[prompt][::2])
        # candidates and honest endpoints are told apart by laws that are known equally well
        is_exact = self.attacks is None and bool(laws)
        honest = (
            law_of_model(self.tools.reference, samples.as_prompt(prompt, api))
            if is_exact
            else law_of_counts(baseline.elements())
        )
        by_name = on_common_tokens({"": honest} | {name: laws[name][prompt] for name in laws})
        return Cell(
            prompt=prompt,
            baseline=baseline,
            honest=by_name.pop(""),
            attacks=by_name,
        )

    def _bounds(
        self,
        held_out: Mapping[str, Sequence[tuple[Cell, str]]],
        names: Sequence[str],
        error: float,
    ) -> dict[str, float]:
        streams = {
            variant: np.column_stack([features_of(rows, names), self._tells(rows)])
            for variant, rows in held_out.items()
        }
        columns = (*feature_names(names), "tell")
        bounds = calibrate.bounds_of(
            streams, [column in ("unseen", "tell") for column in columns], error
        )
        return {
            column: min(bound * (1.0 + self.settings.margin), 1.0 - 1e-6)
            for column, bound in zip(columns, bounds, strict=True)
        }

    def _tells(self, rows: Sequence[tuple[Cell, str]]) -> Float64Array:
        """Return tells, ties split by numbers that depend on the place in the row alone."""
        uniform_N = samples.derived_rng(b"cells", "ties").random(len(rows))
        return np.asarray(
            [
                cell.place(token).rank(float(uniform)) <= self.settings.tell_level
                for (cell, token), uniform in zip(rows, uniform_N, strict=True)
            ],
            dtype=np.float64,
        )


def _said(probed: Sequence[Probed]) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    seen: set[str] = set()
    for item in probed:
        token = token_of(item.answer)
        # the same probe again would be answered in the same way again
        if (
            item.probe.detector == CELLS_ID
            and token is not None
            and item.probe.probe_id not in seen
        ):
            seen.add(item.probe.probe_id)
            said.setdefault(samples.prompt_of(item.probe), []).append(token)
    return said


def _cells_of(honest: HonestAnswers, said: Mapping[str, Said]) -> tuple[tuple[str, ...], ApiStyle]:
    """Return the cells that the variants were asked, in order, and the route."""
    own = [p.probe for name in sorted(honest) for p in honest[name] if p.probe.detector == CELLS_ID]
    if not own:
        raise CalibrationError(
            f"no honest variant was asked the cells of {CELLS_ID}: record one endpoint at least"
        )
    if len({probe.api for probe in own}) > 1:
        raise CalibrationError("the honest variants were asked on different routes; use one")
    by_group = {probe.group: samples.prompt_of(probe) for probe in own}
    prompts = tuple(by_group[group] for group in sorted(by_group))
    if set(prompts) != {samples.prompt_of(probe) for probe in own}:
        raise CalibrationError(
            "the honest variants were asked different cells: plan them from the same texts"
        )
    for name, tokens in said.items():
        fewest = min(len(tokens.get(prompt, ())) for prompt in prompts)
        if fewest < MIN_PER_CELL:
            raise CalibrationError(
                f"the honest variant {name!r} answered a cell {fewest} times, {MIN_PER_CELL} are "
                "needed: record more"
            )
    return prompts, own[0].api


def _held_out(cells: Sequence[Cell], said: Said) -> list[tuple[Cell, str]]:
    """Return the answers that are not in the baseline, equally many of each cell, in turns."""
    kept = {cell.prompt: said[cell.prompt][1::2] for cell in cells}
    fewest = min(len(tokens) for tokens in kept.values())
    return [(cell, kept[cell.prompt][turn]) for turn in range(fewest) for cell in cells]


def _drawn(law: Law, prompt: str) -> list[str]:
    tokens = sorted(law)
    # what a law does not name is one more token, which no baseline holds
    shares = np.asarray([*(law[token] for token in tokens), rest_of(law)])
    rng = samples.derived_rng(b"cells/drawn", prompt)
    picks = rng.choice(len(shares), size=_NUM_DRAWN, p=shares / shares.sum())
    return [tokens[pick] if pick < len(tokens) else "\ufffd" for pick in picks]


def _members(cell: Cell, said: Mapping[str, Said]) -> dict[str, object]:
    return {
        "prompt": cell.prompt,
        "baseline": {
            name: dict(sorted(Counter(own[cell.prompt][::2]).items())) for name, own in said.items()
        },
        "honest": dict(cell.honest),
        "attacks": {name: dict(law) for name, law in sorted(cell.attacks.items())},
    }
