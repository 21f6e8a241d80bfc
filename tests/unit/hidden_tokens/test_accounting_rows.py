"""The accounting on real bills: nothing is found on honest ones, little escapes on changed ones.

Envelopes and disclosures were fitted on the train split; `calib` decides nothing here but whether
they hold. Answers are counted as the data counts them, so no rank file is needed, except where a
test says so. Rows of medagents-benchmark hold the option letter instead of the answer, and their
reasoning was worked out from the steps: they test neither sum nor lattice on their own.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from audit.errors import CalibrationError
from audit.hidden_tokens.envelopes import EnvelopeRow, fit_disclosure, fit_envelopes
from audit.hidden_tokens.facts import load_facts
from audit.hidden_tokens.identities import check_accounting
from audit.hidden_tokens.vocabularies import Vocabularies
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
from tests.support.hidden_tokens import Row
from tests.support.vocabularies import vocabulary_folder

#: Counts answers of `billed_calib`.
CALIB = recorded("billed_calib")


def envelope_rows(name: str) -> Iterator[EnvelopeRow]:
    for row in whole_rows(name):
        yield EnvelopeRow(
            model=row["model"],
            output_tokens=row["completion_tokens_billed"],
            reasoning_tokens=row["reasoning_tokens_billed"],
            visible_tokens=row["answer_tokens_approx"],
        )


def test_the_bundled_envelopes_are_those_of_the_train_split() -> None:
    facts = load_facts()
    bundled = {m.name: m.envelope for m in facts.models if m.envelope is not None}
    some = next(iter(bundled.values()))
    fitted = fit_envelopes(envelope_rows("billed_train"), facts, source=some.source, date=some.date)
    assert fitted == bundled


def test_no_honest_bill_of_calib_violates_anything() -> None:
    rows = stepped_rows("billed_calib")
    found = {row["id"]: identities_of(bill_of(row), CALIB) for row in rows}
    assert len(rows) == 4432
    assert len(whole_rows("billed_calib")) == 1723
    assert {key: value for key, value in found.items() if value} == {}


def test_one_percent_more_on_one_request_is_caught() -> None:
    rows = whole_rows("billed_calib")
    extra = [round(0.01 * row["reasoning_tokens_billed"]) for row in rows]
    caught = [
        bool(identities_of(with_more(bill_of(row), reasoning=n, output=n), CALIB))
        for row, n in zip(rows, extra, strict=True)
    ]
    # rows so short that 1 % rounds to nothing stay as they are, and count as missed
    assert sum(caught) / len(caught) >= 0.99


def test_whole_steps_added_to_reasoning_alone_are_caught() -> None:
    rows = whole_rows("billed_calib")
    caught = [
        "completion_sum" in identities_of(with_more(bill_of(row), reasoning=64), CALIB)
        for row in rows
    ]
    assert sum(caught) / len(caught) >= 0.85


def test_reasoning_added_twice_is_named_on_one_request() -> None:
    rows = [row for row in whole_rows("billed_calib") if row["reasoning_tokens_billed"] > 0]
    named = [
        "double_counting"
        in identities_of(with_more(bill_of(row), output=row["reasoning_tokens_billed"]), CALIB)
        for row in rows
    ]
    assert sum(named) / len(named) >= 0.85
    # what escapes is short beside its answer, as a draft of the answer would be
    long = [n for n, row in zip(named, rows, strict=True) if row["reasoning_tokens_billed"] > 1500]
    assert all(long)


def test_reasoning_added_to_the_total_is_always_named() -> None:
    for row in whole_rows("billed_calib"):
        if row["reasoning_tokens_billed"]:
            changed = with_more(bill_of(row), total=row["reasoning_tokens_billed"])
            assert identities_of(changed, CALIB) == {"double_counting"}


def test_a_rank_file_counts_answers_as_the_data_does() -> None:
    facts = load_facts()
    counter = Vocabularies(vocabulary_folder("o200k_base"), facts.vocabularies)
    rows = whole_rows("billed_calib")
    counts = [counter.count("o200k_base", row["answer"]) for row in rows]
    assert counts == [row["answer_tokens_approx"] for row in rows]


@pytest.mark.parametrize(
    ("model_name", "vocabulary", "num_calib", "padding"),
    [("deepseek-reasoner", "qwen", 46, 1.08), ("grok-3-mini", "o200k_base", 71, 1.12)],
)
def test_shown_chains_are_billed_as_counted(
    model_name: str, vocabulary: str, num_calib: int, padding: float
) -> None:
    facts = load_facts()
    counter = Vocabularies(vocabulary_folder(vocabulary), facts.vocabularies)

    def recounted(row: Row) -> int:
        count = counter.count(vocabulary, row["reasoning"])
        assert count is not None
        return count

    train = shown_chains("open_reasoning_train", model_name)
    model = facts.of(model_name)
    assert model is not None
    bundled = model.disclosure
    assert bundled is not None
    pairs = [(row["reasoning_tokens_billed"], recounted(row)) for row in train]
    assert (
        fit_disclosure(pairs, vocabulary=vocabulary, source=bundled.source, date=bundled.date)
        == bundled
    )
    calib = shown_chains("open_reasoning_calib", model_name)
    assert len(calib) == num_calib
    for row in calib:
        violations, holding, _ = check_accounting(chain_bill(row), facts, counter)
        assert violations == ()
        assert "chain_recount" in holding
    caught = ["chain_recount" in identities_of(chain_bill(row, padding), counter) for row in calib]
    assert sum(caught) >= 0.95 * num_calib


def test_too_few_rows_fit_nothing() -> None:
    row = EnvelopeRow(model="o1", output_tokens=85, reasoning_tokens=64, visible_tokens=10)
    with pytest.raises(CalibrationError, match="o1 has 99 rows; an envelope needs 100"):
        fit_envelopes([row] * 99, load_facts(), source="s", date="d")
    with pytest.raises(CalibrationError, match="no facts name the model o9"):
        fit_envelopes([replace(row, model="o9")], load_facts(), source="s", date="d")
    with pytest.raises(CalibrationError, match="2 shown chains; a disclosure needs 100"):
        fit_disclosure([(5, 5), (6, 6), (7, 0)], vocabulary="v", source="s", date="d")
    (envelope,) = fit_envelopes([row] * 100, load_facts(), source="s", date="d").values()
    assert (envelope.low_tokens, envelope.high_tokens, envelope.visible_share) == (0, 27, 0.0)
