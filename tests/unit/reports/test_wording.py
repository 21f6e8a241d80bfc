"""Words and figures, and the counts of one pass."""

import pytest

from audit.reports import groups, wording
from tests.unit.reports.sample_report import make_sample
from tests.unit.reports.sample_verdicts import HONEST, Endpoint, make_verdicts


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain é 模型 נתון", "plain é 模型 נתון"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\nb\tc\x00", "a⟨U+000A⟩b⟨U+0009⟩c⟨U+0000⟩"),
        ("\ufeff\u00ad\u2028", "⟨U+FEFF⟩⟨U+00AD⟩⟨U+2028⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("e\u0301\u0301\u0301", "e\u0301\u0301⟨U+0301⟩"),
    ],
)
def test_hidden_characters_are_spelled_out(text: str, seen: str) -> None:
    assert wording.shown(text) == seen


def test_long_texts_are_cut_and_their_length_told() -> None:
    assert wording.shown("ab" * 10, longest=3) == "aba … (20 characters)"
    assert wording.name(None) == wording.name("") == "not stated"


def test_lines_of_a_note_stay_lines() -> None:
    assert wording.lines_shown("a\nb\u202e\n") == "a\nb⟨U+202E⟩\n"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "not stated"),
        (0.0, "0"),
        (0.012345, "0.0123"),
        (-0.4, "\N{MINUS SIGN}0.4"),
        (12_345.6, "12,346"),
        (1e-9, "1e-09"),
    ],
)
def test_figures_have_three_digits(value: float | None, told: str) -> None:
    assert wording.figure(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "not stated"),
        (0.0, "0.0 %"),
        (0.0001, "< 0.1 %"),
        (0.99999, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_shares_are_percentages(value: float | None, told: str) -> None:
    assert wording.share(value).replace("\N{NO-BREAK SPACE}", " ") == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "not stated"),
        ("2026-11-01T00:37:01.250000Z", "2026-11-01 00:37:01 UTC"),
        ("2026-11-01T00:37:01Z", "2026-11-01 00:37:01 UTC"),
        ("2026-11-01T00:37:01+01:00", "2026-11-01T00:37:01+01:00"),
        ("soon\u202e", "soon⟨U+202E⟩"),
    ],
)
def test_moments_read_in_utc(text: str | None, told: str) -> None:
    assert wording.moment(text) == told


def test_counts_and_digests() -> None:
    assert wording.counted(1, "entry", "entries") == "1 entry"
    assert wording.counted(2_000, "entry", "entries") == "2,000 entries"
    assert wording.short_digest("sha256:" + "ab" * 32) == "abababababababab…"
    assert wording.short_digest(None) == "not stated"


def test_one_pass_counts_provider_and_model_together() -> None:
    sample = make_sample()
    counts = groups.tally(sample.lines())
    totals = sample.report.totals
    assert counts.num_passed == totals.num_passed
    assert counts.num_failed == totals.num_failed
    assert [group.key.provider for group in counts.groups] == [
        "Brightline AI",
        "Halcyon Cloud",
        "Northwind Inference",
    ]
    assert sum(group.num_verdicts for group in counts.groups) == totals.num_verdicts
    assert [span.num_verdicts for span in counts.reasons] == sorted(
        (span.num_verdicts for span in counts.reasons), reverse=True
    )


def test_groups_failed_and_reasons_are_bounded_and_nothing_is_lost() -> None:
    endpoints = [Endpoint(f"p{i}", None, "m", is_substituting=True) for i in range(301)]
    lines = make_verdicts(endpoints, 1_505)
    counts = groups.tally(lines)
    assert len(counts.groups) == groups.MAX_GROUPS + 1
    assert counts.groups[-1].key.is_rest
    assert sum(group.num_verdicts for group in counts.groups) == len(lines)
    assert len(counts.failed) == groups.MAX_FAILED
    assert counts.num_failed_unlisted == counts.num_failed - groups.MAX_FAILED > 0
    assert all(len(group.failed_examples) <= groups.MAX_EXAMPLES for group in counts.groups)


def test_a_provider_called_like_the_rest_is_not_the_rest() -> None:
    lines = make_verdicts((Endpoint(groups.REST_LABEL, None, None), HONEST), 20)
    counts = groups.tally(lines)
    assert [group.key.is_rest for group in counts.groups] == [False, False]


def test_digests_of_wanted_entries_are_kept() -> None:
    lines = make_verdicts(number=20)
    wanted = lines[7].log_index
    assert groups.tally(lines, {wanted, 10**9}).digests == {wanted: lines[7].entry_digest}
