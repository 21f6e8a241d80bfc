"""Detector `one-token-cells/1`: which first tokens come, and how often, against honest endpoints.

No weights, seeds or log-probabilities are needed: a few short prompts are asked for one token at
temperature 1, the same prompts in every run, and each token is ranked against what honest endpoints
said before. Which cell is asked next is drawn afresh for each request, so that whatever was
answered, the next rank has the same honest mean; that is what the evidence rests on. Answers to one
prompt count separately because each asks for another seed: an endpoint that ignores seeds draws
them by itself, and one that repeats itself from a cache is found out by the pre-flight checks.

Legend: N answers in order, F features.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from audit.records import SamplingRequest
from audit.sweep_records import Candidate, Endpoint, Probe, Probed, ProbeKind, Reading
from audit.sweep_records import ReadingStatus as Status
from audit.sweeps.cells.cells import choose_cells, log_probability
from audit.sweeps.cells.divergence import corrected_jsd_nats
from audit.sweeps.cells.ranks import Cell, feature_names, feature_weights, features_of
from audit.sweeps.cells.section import CELLS_ID, CellSettings, CellTable, read_section
from audit.sweeps.detector import Section, Tools
from audit.sweeps.probe import make_probe
from audit.sweeps.text import calibrate, power, samples

_NUM_SALT_DIGITS = 16

#: Fewer answers to a cell say nothing about its law.
_MIN_FOR_JSD = 2


class OneTokenCells:
    """Bets on tokens that honest endpoints seldom say; see the module."""

    detector_id = CELLS_ID
    tier = 4

    def __init__(
        self, tools: Tools, section: Section | None = None, settings: CellSettings | None = None
    ) -> None:
        """Raises: CalibrationError for a section that is not one of this detector."""
        self._tools = tools
        self._settings = settings or CellSettings()
        self._table = None if section is None else read_section(section, self._settings)

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return the cells in an order of the seed's; without a calibration, each equally often.

        None where the calibration was made on another route. Raises: BadSequence.
        """
        if self._table is None:
            prompts = choose_cells(self._tools, endpoint.api, self._settings.num_cells)
        elif self._table.api is endpoint.api:
            prompts = tuple(cell.prompt for cell in self._table.cells)
        else:
            prompts = ()
        if not prompts:
            return ()
        rng = samples.derived_rng(seed, "cells")
        if self._table is None:
            rounds = -(-num_probes // len(prompts))
            order = [int(c) for _ in range(rounds) for c in rng.permutation(len(prompts))]
        else:
            order = [int(cell) for cell in rng.integers(len(prompts), size=num_probes)]
        return tuple(
            self._probe(endpoint, prompts[cell], cell, seed, number)
            for number, cell in enumerate(order[:num_probes])
        )

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return the evidence of the answers so far."""
        table = self._table
        if table is None:
            reason = "no bundle says which first words honest answers have for this model"
            return self._nothing(Status.UNCALIBRATED, reason, len(probed))
        if table.api is not endpoint.api:
            reason = f"the first words were counted on the {table.api.value} route only"
            return self._nothing(Status.NOT_APPLICABLE, reason, len(probed))
        answers = table.answers(probed)
        if not answers:
            reason = "no answer of one token came back"
            return self._nothing(Status.TOO_LITTLE, reason, len(probed))
        return self._reading(table, answers, len(probed))

    def _nothing(self, status: Status, reason: str, num_sent: int) -> Reading:
        table = self._table
        return Reading(
            detector=CELLS_ID,
            tier=self.tier,
            status=status,
            reason=reason,
            num_sent=num_sent,
            visible=None
            if table is None
            else power.visible(table.power, 0, power=self._tools.power),
        )

    def _reading(
        self, table: CellTable, answers: Sequence[tuple[Probed, Cell, str]], num_sent: int
    ) -> Reading:
        said = [(cell, token) for _, cell, token in answers]
        log_e_N = calibrate.log_e_process(
            features_of(said, table.attacks),
            [table.bounds[name] for name in feature_names(table.attacks)],
            feature_weights(table.attacks),
        )
        level = self._settings.tell_level
        tells = [
            cell.place(token).rank(uniform_of(item.probe)) <= level for item, cell, token in answers
        ]
        return Reading(
            detector=CELLS_ID,
            tier=self.tier,
            status=Status.READ,
            log_e_nats_N=tuple(float(value) for value in log_e_N),
            tells="".join("1" if tell else "0" for tell in tells),
            honest_tell_rate=table.bounds["tell"],
            num_sent=num_sent,
            num_used=len(answers),
            statistics=(
                ("mean_rank", sum(c.place(t).middle for c, t in said) / len(said)),
                *_divergences(table, said),
                *((f"tell_rate:{name}", table.tell_rates[name]) for name in table.attacks),
            ),
            candidates=_candidates(table, said),
            visible=power.visible(table.power, len(answers), power=self._tools.power),
        )

    def _probe(self, endpoint: Endpoint, prompt: str, cell: int, seed: bytes, number: int) -> Probe:
        salt = hashlib.sha256(seed + f"/salt/{number}".encode()).hexdigest()[:_NUM_SALT_DIGITS]
        return make_probe(
            kind=ProbeKind.CELL,
            detector=CELLS_ID,
            group=f"cell-{cell:02d}",
            api=endpoint.api,
            prompt=samples.as_prompt(prompt, endpoint.api),
            sampling=SamplingRequest(
                temperature=self._settings.temperature,
                top_p=1.0,
                top_k=0,
                seed=samples.derived_seed(seed, f"sent {number}"),
                max_tokens=1,
            ),
            # kept back: whoever knew how ties are split could answer by it
            expected={"salt": salt},
        )


def uniform_of(probe: Probe) -> float:
    """Return the number in [0, 1) that splits an answer's ties, known to the auditor alone."""
    salt = str(json.loads(probe.expected_json)["salt"])
    return int(salt, 16) / 16.0 ** len(salt)


def _divergences(
    table: CellTable, said: Sequence[tuple[Cell, str]]
) -> tuple[tuple[str, float], ...]:
    counts: dict[str, Counter[str]] = {}
    for cell, token in said:
        counts.setdefault(cell.prompt, Counter())[cell.common(token)] += 1
    found = [
        (
            f"jsd_nats:cell-{index:02d}",
            corrected_jsd_nats(counts[cell.prompt], cell.common_baseline()),
        )
        for index, cell in enumerate(table.cells)
        if counts.get(cell.prompt, Counter()).total() >= _MIN_FOR_JSD
    ]
    if not found:
        return ()
    return (("jsd_nats", sum(value for _, value in found) / len(found)), *found)


def _candidates(table: CellTable, said: Sequence[tuple[Cell, str]]) -> tuple[Candidate, ...]:
    if not table.attacks:
        return ()
    honest = sum(log_probability(cell.honest, token) for cell, token in said)
    return (
        Candidate(name="honest", log_likelihood_nats=honest),
        *(
            Candidate(
                name=name,
                log_likelihood_nats=sum(
                    log_probability(cell.attacks[name], token) for cell, token in said
                ),
            )
            for name in table.attacks
        ),
    )
