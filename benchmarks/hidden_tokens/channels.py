"""What do accounting, the client's clock and the sizes of sealed reasoning tell, on real bills?

Accounting: the bundled facts, whose envelopes and disclosures were fitted on the train part, hold
against every o-series row of `billed_calib`. Rows that hold the option letter instead of the answer
can only be checked for steps and sums; the others are billed wrongly in five ways besides, one
request at a time. `caught` is a violation of any kind, `named` one that says double counting. Shown
chains are recounted with the public vocabulary that the facts name; without its rank file they are
left out, and the line says so.

Time: laws are fitted on half of train's questions and calibrated on the other half and on half of
`billed_calib`'s. Errors are of all of `billed_calib`, which no curve has seen, coverage is of its
other half. A bill is impossible where no host writes so fast; `caught_impossible` multiplies the
bills of calls with 256 tokens or more and leaves the time as it was.

Sizes: blobs are split by recording. One half fits; of the other, every second row calibrates and
the rest are tested; both ways and both alternations, so that each row is tested once. Rows of one
recording may stand on both sides of that alternation, which flatters coverage, not errors. Laws
need 15 calibration rows here instead of the 30 of an audit, as there are few. Signatures are fitted
on train and calibrated on one half of calib's questions to test the other, both ways; summaries are
fitted on half of all questions, and the rest is used in the same way.

Intervals are at 90 %. Errors are relative to the count; bills of nothing have none.

    python benchmarks/hidden_tokens/channels.py
"""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.billing_records import BilledRequest, Reading, Unchecked
from audit.hidden_tokens.facts import load_facts
from audit.hidden_tokens.identities import check_accounting
from audit.hidden_tokens.laws import counted_of
from audit.hidden_tokens.opaque import OpaqueLaws
from audit.hidden_tokens.opaque_evidence import OpaqueKind
from audit.hidden_tokens.opaque_fit import family_of, fit_opaque_laws
from audit.hidden_tokens.timing import MIN_BURST
from audit.hidden_tokens.timing_evidence import Clock
from audit.hidden_tokens.vocabularies import TokenCounter, Vocabularies
from tests.support.billed_rows import (
    bill_of,
    chain_bill,
    identities_of,
    recorded,
    shown_chains,
    stepped_rows,
    whole_rows,
    with_more,
)
from tests.support.hidden_tokens import Row, load_rows, split_groups
from tests.support.opaque_rows import (
    blob_halves,
    errors_of,
    of_blob,
    of_signature,
    of_summary,
    samples_of,
    signed_rows,
    summary_rows,
)
from tests.support.timed_rows import timed_bill, timing_errors, timing_readings, timing_study
from tests.support.vocabularies import vocabulary_folder

Figures = dict[str, object]
Tested = tuple[OpaqueLaws, list[BilledRequest]]

BAND = 1 / 3
PADDINGS = (1.05, 1.08, 1.12)
BURSTS = (2.0, 5.0, 10.0)
MIN_CALIBRATION = 15


def accounting() -> Figures:
    """Return what is found on honest bills, and on bills that were changed."""
    counter = recorded("billed_calib")
    honest = [bill_of(row) for row in stepped_rows("billed_calib")]
    whole = [bill_of(row) for row in whole_rows("billed_calib")]
    holding = Counter(name for one in honest for name in _holding(one, counter))
    return {
        "facts": load_facts().version,
        "honest_rows": len(honest),
        "honest_rows_with_answer": len(whole),
        "honest_rows_violated": sum(bool(identities_of(one, counter)) for one in honest),
        "identities_holding": dict(sorted(holding.items())),
        "changed": changed(whole, counter),
        "shown_chains": {name: chains(name) for name in ("deepseek-reasoner", "grok-3-mini")},
    }


def changed(whole: Sequence[BilledRequest], counter: TokenCounter) -> dict[str, Figures]:
    """Return how many bills are caught, each changed by itself."""
    thinking = [one for one in whole if _reasoning(one)]
    percent = [(one, round(0.01 * _reasoning(one))) for one in whole]
    kinds = {
        "reasoning_x1.01": [with_more(one, reasoning=n, output=n) for one, n in percent],
        "reasoning_plus_64": [with_more(one, reasoning=64) for one in whole],
        "both_plus_64": [with_more(one, reasoning=64, output=64) for one in whole],
        "output_double_counted": [with_more(one, output=_reasoning(one)) for one in thinking],
        "total_double_counted": [with_more(one, total=_reasoning(one)) for one in thinking],
    }
    figures: dict[str, Figures] = {}
    for kind, requests in kinds.items():
        found = [identities_of(one, counter) for one in requests]
        figures[kind] = {
            "num": len(requests),
            "caught": _share(map(bool, found)),
            "named": _share("double_counting" in one for one in found),
        }
    return figures


def chains(model_name: str) -> Figures:
    """Return how padded chains that are shown are caught, by their recount."""
    facts = load_facts()
    model = facts.of(model_name)
    if model is None or model.disclosure is None:
        raise ValueError(f"the facts disclose nothing about {model_name}")
    try:
        folder = vocabulary_folder(model.disclosure.vocabulary)
    except pytest.skip.Exception as reason:
        return {"not_measured": str(reason)}
    counter = Vocabularies(folder, facts.vocabularies)
    rows = shown_chains("open_reasoning_calib", model_name)
    figures: Figures = {"num": len(rows)}
    for factor in (1.0, *PADDINGS):
        found = ["chain_recount" in identities_of(chain_bill(row, factor), counter) for row in rows]
        figures["honest_violated" if factor == 1.0 else f"caught_x{factor:g}"] = _share(found)
    return figures


def timing() -> Figures:
    """Return the figures of every cell with a speed law."""
    laws, cells = timing_study()
    with_law = sorted(cell for cell in cells if ("|".join(cell), Clock.WHOLE) in laws.laws)
    rows = [row for listed in cells.values() for row in listed]
    impossible = [laws.impossible(timed_bill(row), row["domain"]) for row in rows]
    return {
        "cells": {"|".join(cell): timing_cell(cell) for cell in with_law},
        "refused": {name: reason.value for name, reason in sorted(laws.refused.items())},
        "honest_calls": len(rows),
        "honest_calls_impossible": sum(one is not None for one in impossible),
        "top_speeds": {model: round(speed, 1) for model, speed in laws.top_speeds.items()},
    }


def timing_cell(cell: tuple[str, str, str]) -> Figures:
    """Return the figures of one cell."""
    laws, cells = timing_study()
    bursts = [row for row in cells[cell] if counted_of(timed_bill(row))[1] >= MIN_BURST]
    caught = {
        f"x{factor:g}": _share(
            laws.impossible(timed_bill(row, factor), row["domain"]) is not None for row in bursts
        )
        for factor in BURSTS
    }
    return {
        **_errors(timing_errors(cell)),
        **_readings(timing_readings(cell)),
        "num_bursts": len(bursts),
        "caught_impossible": caught,
    }


def sizes() -> Figures:
    """Return the figures of each kind of stand-in and family of models."""
    signed = [of_signature(row) for row in signed_rows("billed_train")]
    halves = split_groups(signed_rows("billed_calib"))
    return {
        "blob": families(_blob_folds(), OpaqueKind.BLOB),
        "signature": families(_folds(signed, halves, of_signature), OpaqueKind.SIGNATURE),
        "summary": families(_summary_folds(), OpaqueKind.SUMMARY),
    }


def families(folds: Iterable[Tested], kind: OpaqueKind) -> dict[str, Figures]:
    """Return the figures of each family, over folds that test each request once."""
    errors: dict[str, list[float]] = defaultdict(list)
    readings: dict[str, list[tuple[int, Reading]]] = defaultdict(list)
    refusals: dict[str, Counter[str]] = defaultdict(Counter)
    for laws, requests in folds:
        for request in requests:
            family, read = family_of(request.model), laws.read(request, "")
            if isinstance(read, Unchecked):
                refusals[family][read.reason.value] += 1
                continue
            readings[family].append((counted_of(request)[1], read))
            thinking = [one for one in samples_of([request]) if one.count]
            errors[family] += errors_of(laws, (family, kind), thinking)
    return {
        family: {
            **(_errors(errors[family]) if errors[family] else {}),
            **(_readings(readings[family]) if readings[family] else {}),
            "refused": dict(sorted(refusals[family].items())),
        }
        for family in sorted({*readings, *refusals})
    }


def _blob_folds() -> Iterable[Tested]:
    halves = [[of_blob(row) for row in half] for half in blob_halves()]
    for fitted, other in (halves, halves[::-1]):
        for parity in (0, 1):
            calibration, tested = other[parity::2], other[1 - parity :: 2]
            yield _fit(fitted, calibration), tested


def _summary_folds() -> Iterable[Tested]:
    models = sorted({row["model"] for row in load_rows("billed_train") if _is_summary(row)})
    fitted, other = split_groups([row for model in models for row in summary_rows(model)], "fit")
    return _folds([of_summary(row) for row in fitted], split_groups(other), of_summary)


def _folds(
    fitted: Sequence[BilledRequest],
    halves: tuple[list[Row], list[Row]],
    bill: Callable[[Row], BilledRequest],
) -> Iterable[Tested]:
    first, second = ([bill(row) for row in half] for half in halves)
    yield _fit(fitted, first), second
    yield _fit(fitted, second), first


def _fit(fitted: Iterable[BilledRequest], calibration: Iterable[BilledRequest]) -> OpaqueLaws:
    return fit_opaque_laws(
        samples_of(fitted), samples_of(calibration), min_calibration=MIN_CALIBRATION
    )


def _is_summary(row: Row) -> bool:
    return bool(
        row["reasoning_is_summary"]
        and row["reasoning_tokens_approx"]
        and row["reasoning_tokens_billed"]
    )


def _errors(errors: Sequence[float]) -> Figures:
    return {
        "num_errors": len(errors),
        "median_error": round(float(np.median(errors)), 4),
        "within_third": _share(error <= BAND for error in errors),
    }


def _readings(found: Sequence[tuple[int, Reading]]) -> Figures:
    """Return how often intervals hold, and what expectations sum to beside the bills."""
    bounded = [(n, r) for n, r in found if r.low_tokens is not None and r.high_tokens is not None]
    expected = sum(reading.expected_tokens or 0.0 for _, reading in found)
    return {
        "num_tested": len(found),
        "num_with_interval": len(bounded),
        "coverage": _share((r.low_tokens or 0) <= n <= (r.high_tokens or 0) for n, r in bounded),
        "aggregate_error": round(expected / sum(count for count, _ in found) - 1.0, 4),
    }


def _holding(request: BilledRequest, counter: TokenCounter) -> tuple[str, ...]:
    return check_accounting(request, load_facts(), counter)[1]


def _reasoning(request: BilledRequest) -> int:
    return request.usage.reasoning_tokens or 0


def _share(hits: Iterable[bool]) -> float | None:
    listed = list(hits)
    return round(sum(listed) / len(listed), 4) if listed else None


def main() -> None:
    """Print the figures as one line of JSON."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    started = time.perf_counter()
    results = {"accounting": accounting(), "timing": timing(), "opaque": sizes()}
    elapsed_s = round(time.perf_counter() - started, 1)
    print(json.dumps({"results": results, "elapsed_s": elapsed_s}))


if __name__ == "__main__":
    main()
