"""Size laws on made-up formats whose truth is known, and their refusals."""

from dataclasses import replace

import numpy as np
import pytest

from audit.billing_records import (
    Adversary,
    BilledRequest,
    BilledUsage,
    Controller,
    OpaqueEvidence,
    Reading,
    Refusal,
    Tier,
    Unchecked,
    UsageSchema,
)
from audit.errors import CalibrationError
from audit.hidden_tokens.opaque import LARGE_TOKENS, Form, OpaqueLaws
from audit.hidden_tokens.opaque_evidence import OpaqueKind
from audit.hidden_tokens.opaque_fit import family_of, fit_opaque_laws
from tests.unit.hidden_tokens.made_up_sizes import MODEL, blobs, request, samples


def reading(laws: OpaqueLaws, one: BilledRequest) -> Reading:
    """Return the reading of a request that can be read."""
    found = laws.read(one, "math")
    assert isinstance(found, Reading)
    return found


def refusal(laws: OpaqueLaws, one: BilledRequest) -> Unchecked:
    """Return why a request cannot be read."""
    found = laws.read(one, "math")
    assert isinstance(found, Unchecked)
    assert found.tier is Tier.OPAQUE
    return found


@pytest.fixture(scope="module")
def laws() -> OpaqueLaws:
    """Laws of the made-up format."""
    return fit_opaque_laws(samples(blobs(100, 1)), samples(blobs(400, 2)))


def test_the_format_is_found_again(laws: OpaqueLaws) -> None:
    curve = laws.laws["openai-2025", OpaqueKind.BLOB].curve

    assert curve.form is Form.LINE
    assert 1.0 / curve.per_char == pytest.approx(6.0, rel=0.03)
    assert -curve.per_item / curve.per_char == pytest.approx(800.0, rel=0.05)
    # answers are no part of a bill that states the reasoning apart
    assert curve.per_answer_char == 0.0


def test_intervals_hold_for_small_and_large_counts(laws: OpaqueLaws) -> None:
    rows = [(one.usage.reasoning_tokens or 0, reading(laws, one)) for one in blobs(800, 3)]

    for is_large in (False, True):
        part = [(n, r) for n, r in rows if ((r.expected_tokens or 0) >= LARGE_TOKENS) == is_large]
        held = [(r.low_tokens or 0) <= n <= (r.high_tokens or 0) for n, r in part]
        assert len(part) >= 60
        assert 0.83 <= np.mean(held) <= 0.97
    billed = sum(n for n, _ in rows)
    assert sum(r.expected_tokens or 0 for _, r in rows) == pytest.approx(billed, rel=0.02)


def test_a_quarter_more_or_less_is_seen_on_one_large_request(laws: OpaqueLaws) -> None:
    chars = 800 + 6 * 1024
    honest = request(1024, OpaqueEvidence(blob_chars=chars))
    more = request(1280, OpaqueEvidence(blob_chars=chars))
    less = request(768, OpaqueEvidence(blob_chars=chars))

    assert reading(laws, more).p_over <= 0.01
    assert reading(laws, less).p_under <= 0.01
    assert min(reading(laws, honest).p_over, reading(laws, honest).p_under) >= 0.2


def test_a_reading_says_that_the_origin_controls_the_size(laws: OpaqueLaws) -> None:
    found = reading(laws, blobs(1, 4)[0])

    assert (found.tier, found.channel) == (Tier.OPAQUE, "blob:openai-2025")
    assert (found.controller, found.stops) == (
        Controller.ORIGIN_PROVIDER,
        Adversary.INFLATING_RESELLER,
    )
    assert found.cell == "openai-2025||"


def test_models_of_one_format_share_a_law_and_others_stand_alone() -> None:
    assert family_of("gpt-5-mini-2025-08-07") == family_of(MODEL) == "openai-2025"
    assert family_of("gpt-5.2-2025-12-11") == "gpt-5.2-2025-12-11"
    assert family_of("b", {"both": ["a", "b"]}) == "both"


def test_all_output_follows_signature_and_answer() -> None:
    rng = np.random.default_rng(5)
    requests = []
    for _ in range(120):
        thought, answer = int(rng.integers(200, 4000)), int(rng.integers(100, 4000))
        usage = BilledUsage(schema=UsageSchema.ANTHROPIC, output_tokens=thought + answer // 4)
        evidence = OpaqueEvidence(signature_chars=round(5.3 * thought + 300))
        one = request(0, evidence, "claude")
        requests.append(replace(one, usage=usage, answer="x" * answer))
    found = fit_opaque_laws(samples(requests[:60]), samples(requests[60:]))

    curve = found.laws["claude", OpaqueKind.SIGNATURE].curve
    assert curve.per_answer_char == pytest.approx(0.25, abs=0.01)
    assert curve.per_char == pytest.approx(1 / 5.3, rel=0.01)
    assert reading(found, requests[0]).expected_tokens == pytest.approx(
        requests[0].usage.output_tokens, rel=0.02
    )


def test_a_summary_may_grow_slower_than_its_text() -> None:
    rng = np.random.default_rng(6)
    requests = []
    for _ in range(120):
        tokens = int(rng.integers(64, 20_000))
        chars = round(30.0 * tokens**0.5 * float(np.exp(0.05 * rng.normal())))
        requests.append(request(tokens, OpaqueEvidence(summary_chars=chars), "o4"))
    found = fit_opaque_laws(samples(requests[:60]), samples(requests[60:]))

    curve = found.laws["o4", OpaqueKind.SUMMARY].curve
    assert curve.form is Form.POWER
    assert curve.per_char == pytest.approx(2.0, abs=0.1)


def test_the_most_telling_stand_in_with_a_law_is_read(laws: OpaqueLaws) -> None:
    evidence = OpaqueEvidence(blob_chars=6944, signature_chars=10, summary_chars=10)
    kinds = [sample.kind for sample in samples([request(1024, evidence)])]

    assert kinds == [OpaqueKind.BLOB, OpaqueKind.SIGNATURE, OpaqueKind.SUMMARY]
    assert reading(laws, request(1024, evidence)).channel == "blob:openai-2025"


@pytest.mark.parametrize(
    ("model", "evidence"),
    [
        ("claude-3-7-sonnet-20250219", OpaqueEvidence(signature_chars=248)),
        ("o3-mini-2025-01-31", OpaqueEvidence(blob_chars=440)),
    ],
)
def test_stand_ins_of_one_size_carry_no_signal(model: str, evidence: OpaqueEvidence) -> None:
    constant = [request(64 * n, evidence, model) for n in range(1, 81)]
    laws = fit_opaque_laws(
        samples(blobs(50, 1) + constant[:40]), samples(blobs(50, 2) + constant[40:])
    )

    assert refusal(laws, constant[0]).reason is Refusal.NO_SIGNAL
    # three are enough to see that
    few = fit_opaque_laws(samples(blobs(50, 1) + constant[:3]), samples(blobs(50, 2)))
    assert refusal(few, constant[0]).reason is Refusal.NO_SIGNAL


def test_sizes_that_have_nothing_to_do_with_the_count_carry_no_signal(laws: OpaqueLaws) -> None:
    rng = np.random.default_rng(8)
    noise = [
        request(int(rng.integers(64, 4000)), OpaqueEvidence(blob_chars=int(n)), "noise")
        for n in rng.integers(100, 9000, size=100)
    ]
    found = fit_opaque_laws(samples(blobs(50, 1) + noise[:50]), samples(blobs(50, 2) + noise[50:]))

    assert refusal(found, noise[0]).reason is Refusal.NO_SIGNAL


def test_too_few_requests_are_refused_by_name() -> None:
    few = blobs(20, 9, "gemini")
    laws = fit_opaque_laws(samples(blobs(50, 1) + few), samples(blobs(50, 2) + few))

    assert refusal(laws, few[0]).reason is Refusal.TOO_LITTLE_CALIBRATION
    with pytest.raises(CalibrationError, match="no model has a law of sizes: it takes 15 honest"):
        fit_opaque_laws(samples(few), samples(few))


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (request(64, None), Refusal.NO_EVIDENCE),
        (request(64, OpaqueEvidence()), Refusal.NO_EVIDENCE),
        (request(64, OpaqueEvidence(blob_chars=0)), Refusal.NO_EVIDENCE),
        (request(64, OpaqueEvidence(blob_chars=-4)), Refusal.UNREADABLE_EVIDENCE),
        (request(64, OpaqueEvidence(blob_chars=900, num_blobs=0)), Refusal.UNREADABLE_EVIDENCE),
        (
            request(64, OpaqueEvidence(blob_chars=62_884, has_builtin_tools=True)),
            Refusal.UNREADABLE_EVIDENCE,
        ),
        (request(64, OpaqueEvidence(blob_chars=900), "gpt-9"), Refusal.UNKNOWN_MODEL),
        (request(64, OpaqueEvidence(summary_chars=900)), Refusal.UNSEEN_CELL),
        (
            replace(request(64, OpaqueEvidence(blob_chars=900)), is_aggregator=True),
            Refusal.NOT_A_METER_READING,
        ),
        (
            replace(
                request(64, OpaqueEvidence(blob_chars=900)),
                usage=BilledUsage(schema=UsageSchema.OPENAI_CHAT, output_tokens=164),
            ),
            Refusal.NO_COUNT,
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    laws: OpaqueLaws, one: BilledRequest, reason: Refusal
) -> None:
    assert refusal(laws, one).reason is reason
