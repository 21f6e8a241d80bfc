"""The acceptance numbers, measured on the bundled recordings of real engines.

Shares are of tokens or of exchanges, over at most `MAX_EXCHANGES` of each recording.
`benchmarks/detection.py` measures the same on all of them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from audit.app import build_accumulator, build_examiner
from audit.examine import Examiner
from audit.records import Outcome, Reason, StoredStream
from tests.integration.audited import Audited
from tests.integration.conftest import EXAMINED
from tests.integration.traffic import (
    by_temperature,
    prompts_of,
    recordings,
    requests_of,
    sampled,
    shares,
)
from tests.support.example_model import TRAFFIC

MAX_EXCHANGES = 48
MAX_HONEST_FAIL_SHARE = 0.01

INCONCLUSIVE = Outcome.INCONCLUSIVE
#: A shorter answer may tell too little for a verdict.
SHORT_ANSWER_TOKENS = 100

#: Honest recordings whose kind the bundled calibration covers.
CALIBRATED = ("honest-vllm-fp32*", "honest-vllm-bf16-*", "honest-transformers-bf16*")


Audit = Callable[[str], Audited]


@pytest.fixture(scope="session")
def audit(examiner: Examiner) -> Audit:
    """Return a function that examines a sample of the recordings of a pattern, once a run."""

    @cache
    def one(path: Path) -> Audited:
        requests = sampled(requests_of(path), MAX_EXCHANGES)
        return Audited(path.name, requests, [examiner(r) for r in requests])

    def audited(pattern: str) -> Audited:
        parts = [one(path) for path in recordings(pattern)]
        return Audited(
            pattern,
            [r for part in parts for r in part.requests],
            [e for part in parts for e in part.examinations],
        )

    return audited


@pytest.mark.parametrize(
    ("pattern", "floor"),
    [
        ("honest-vllm-fp32*", 0.999),
        ("honest-vllm-bf16-*", 0.985),
        ("honest-transformers-bf16*", 0.985),
    ],
)
def test_honest_tokens_agree(audit: Audit, pattern: str, floor: float) -> None:
    found = audit(pattern)
    assert found.match_share >= floor, str(found)


def test_honest_recordings_cover_what_was_asked_for(audit: Audit) -> None:
    for pattern in ("honest-vllm-fp32*", "honest-vllm-bf16-*"):
        sampling = [r.exchange.sampling for r in audit(pattern).requests]
        assert {s.temperature for s in sampling} >= {0.0, 0.7, 1.0}
        assert {s.top_k for s in sampling} >= {0, 50}
        assert {s.top_p for s in sampling} >= {0.95, 1.0}


def test_honest_tokens_agree_at_every_temperature(audit: Audit) -> None:
    found = audit("honest-vllm-bf16-*")
    for temperature, group in by_temperature(found.requests, found.examinations):
        matches, tokens = shares(group)
        assert matches / tokens >= 0.985, f"{matches} of {tokens} at temperature {temperature}"


@pytest.mark.parametrize(("temperature", "ceiling"), [("0.7", 0.60), ("1.0", 0.30)])
def test_tokens_of_a_wrong_seed_disagree(audit: Audit, temperature: str, ceiling: float) -> None:
    found = audit(f"cheat-wrong-seed-t{temperature}*")
    assert found.match_share < ceiling, str(found)


@pytest.mark.parametrize(
    ("pattern", "floor"),
    [
        ("cheat-wrong-seed-t0.7*", 0.95),
        ("cheat-wrong-seed-t1.0*", 0.95),
        ("cheat-temperature-1.1*", 0.95),
        ("cheat-other-checkpoint*", 0.95),
        ("cheat-4bit*", 0.30),
    ],
)
def test_cheating_fails_within_300_tokens(audit: Audit, pattern: str, floor: float) -> None:
    found = audit(pattern)
    assert max(e.verdict.num_tokens for e in found.examinations) <= 300
    assert found.num(Outcome.FAIL) >= floor * found.num_exchanges, str(found)


@pytest.mark.parametrize("pattern", CALIBRATED)
def test_honest_exchanges_pass(audit: Audit, pattern: str) -> None:
    found = audit(pattern)
    assert found.num(Outcome.FAIL) <= MAX_HONEST_FAIL_SHARE * found.num_exchanges, str(found)
    assert found.num(Outcome.PASS) >= 0.95 * found.num_exchanges, str(found)
    undecided = [e.verdict for e in found.examinations if e.verdict.outcome is INCONCLUSIVE]
    assert all(v.reasons == (Reason.TOO_FEW_TOKENS,) for v in undecided), str(found)
    assert all(v.num_tokens < SHORT_ANSWER_TOKENS for v in undecided), str(found)


def test_honest_exchanges_of_any_kind_hardly_ever_fail(audit: Audit) -> None:
    found = audit("honest-*")
    assert found.num(Outcome.FAIL) <= MAX_HONEST_FAIL_SHARE * found.num_exchanges, str(found)


def test_nothing_is_silently_inconclusive(audit: Audit) -> None:
    found = audit("honest-*")
    known = {Reason.UNCALIBRATED, Reason.TOKENS_AMBIGUOUS, Reason.TOO_FEW_TOKENS}
    for examination in found.examinations:
        verdict = examination.verdict
        if verdict.outcome is INCONCLUSIVE:
            assert len(verdict.reasons) == 1, str(found)
            assert set(verdict.reasons) <= known, str(found)
            assert all(verdict.details), str(found)
    num_ambiguous = sum(Reason.TOKENS_AMBIGUOUS in e.verdict.reasons for e in found.examinations)
    num_inferred = sum(r.exchange.output.token_ids is None for r in found.requests)
    assert num_ambiguous <= num_inferred, str(found)


def test_every_pass_states_what_it_could_not_have_seen(audit: Audit) -> None:
    patterns = (*CALIBRATED, "cheat-4bit*")
    passed = [e.verdict for p in patterns for e in audit(p).examinations]
    passed = [v for v in passed if v.outcome is Outcome.PASS]
    assert passed
    for verdict in passed:
        assert verdict.sensitivity is not None
        assert verdict.sensitivity.substituted_token_share is not None
        assert 0.0 < verdict.sensitivity.substituted_token_share <= 0.5
        assert str(verdict.num_tokens) in verdict.sensitivity.statement
        assert verdict.statistics[0].false_alarm_rate == 0.01


def test_the_reference_runs_at_the_claimed_precision(audit: Audit) -> None:
    for pattern, precision in (("honest-vllm-fp32*", "float32"), ("cheat-4bit*", "bfloat16")):
        found = audit(pattern)
        assert {e.verdict.precision for e in found.examinations} == {precision}, str(found)


def test_an_override_of_the_precision_holds_and_is_stated(examiner: Examiner, audit: Audit) -> None:
    claimed = audit("honest-vllm-fp32*")
    chosen = claimed.requests[:12]
    in_bfloat16 = build_examiner(replace(EXAMINED, precision="bfloat16"))
    found = Audited("fp32 traffic, bf16 reference", chosen, [in_bfloat16(r) for r in chosen])
    assert {e.verdict.precision for e in found.examinations} == {"bfloat16"}
    assert found.match_share < claimed.match_share, str(found)
    assert found.match_share > 0.95, str(found)


@pytest.mark.parametrize(
    ("pattern", "outcome"),
    [
        ("cheat-4bit*", Outcome.FAIL),
        ("cheat-flipped-1pct*", Outcome.FAIL),
        ("cheat-temperature-1.1*", Outcome.FAIL),
        ("honest-vllm-bf16-*", Outcome.PASS),
        ("honest-vllm-fp32*", Outcome.PASS),
        ("honest-transformers-bf16*", Outcome.PASS),
    ],
)
def test_a_provider_is_judged_by_all_its_exchanges_together(
    audit: Audit, pattern: str, outcome: Outcome
) -> None:
    found = audit(pattern)
    accumulator = build_accumulator(EXAMINED)
    stream: StoredStream | None = None
    for request, examination in zip(found.requests, found.examinations, strict=True):
        key = accumulator.key(request, examination)
        if key is not None and examination.growth is not None:
            key = replace(key, endpoint="")
            stream = accumulator.fold(stream, key, examination.growth)
    assert stream is not None
    assert stream.finding.outcome == outcome.value, f"{found}: {stream.finding}"
    assert stream.finding.noise is not None


def test_calibration_and_honest_test_traffic_share_no_prompt() -> None:
    folders = (TRAFFIC, TRAFFIC.parent / "study")
    calibrating = [path for f in folders for path in sorted(f.glob("*calibration*.jsonl*"))]
    assert len(calibrating) > 5
    used = {prompt: path for path in calibrating for prompt in prompts_of(path)}
    tests = sorted((TRAFFIC.parent / "study").glob("honest*.jsonl.gz"))
    for path in [*recordings("honest*.jsonl"), *tests]:
        shared = sorted(_names(used, prompts_of(path)))
        assert not shared, f"{path.name} shares prompts with {shared}"


def _names(used: dict[str, Path], prompts: set[str]) -> set[str]:
    return {used[prompt].name for prompt in prompts if prompt in used}
