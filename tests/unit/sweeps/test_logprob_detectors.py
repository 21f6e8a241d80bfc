"""The three detectors on answers of the example model, honest ones and others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import pytest

from audit.errors import CalibrationError
from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    Endpoint,
    PositionLogprobs,
    Probe,
    ProbeAnswer,
    Probed,
    Reading,
    ReadingStatus,
    TokenLogprob,
)
from audit.sweeps.detector import Section
from audit.sweeps.logprobs.calibrate import (
    BindingCalibrator,
    KlCalibrator,
    TrackingCalibrator,
)
from audit.sweeps.logprobs.detector import LogprobKl, LogprobTracking
from audit.sweeps.logprobs.detector_binding import LogprobBinding
from audit.sweeps.logprobs.plan import LogprobSettings
from reference_runner.records import GenerationRequest, Sampling
from tests.support.asked_endpoints import ENDPOINT, ask, copies, tools

SETTINGS = LogprobSettings(kl_tokens=4, binding_tokens=8, repeats=2)
ERROR = 0.01
TOOLS = tools("int4-g32", "sibling")
KL = LogprobKl(TOOLS, None, SETTINGS)
TRACKING = LogprobTracking(TOOLS, None, SETTINGS)
BINDING = LogprobBinding(TOOLS, None, SETTINGS)


def answers(
    probes: Sequence[Probe], copy: str, *, logprobs_of: str | None = None, spelt: bool = False
) -> list[Probed]:
    """Return what a copy draws, with its own log-probabilities or those of another one."""
    model, other = copies()[copy], copies()[logprobs_of or copy]
    requests = [
        GenerationRequest(
            prompt_token_ids=model.tokenize_text(probe.prompt.text or ""),
            sampling=Sampling(
                temperature=probe.sampling.temperature or 0.0,
                top_k=0,
                top_p=1.0,
                seed=probe.sampling.seed,
            ),
            profile_id="torch-cpu-exponential",
            num_tokens=probe.sampling.max_tokens or 1,
        )
        for probe in probes
    ]
    drawn = model.generate(requests, batch_size=32)
    probed = []
    for probe, request, output in zip(probes, requests, drawn, strict=True):
        top = other.top_logprobs(request.prompt_token_ids, output, 5)
        positions = tuple(
            PositionLogprobs(
                chosen=TokenLogprob(token_id=token, logprob_nats=float(claimed)),
                top=tuple(
                    TokenLogprob(token=other.token_text(int(t)), logprob_nats=float(v))
                    if spelt
                    else TokenLogprob(token_id=int(t), logprob_nats=float(v))
                    for t, v in zip(tokens, values, strict=True)
                ),
            )
            for token, claimed, tokens, values in zip(
                output,
                top.claimed_logprob_nats_R,
                top.token_RK,
                top.logprob_nats_RK,
                strict=True,
            )
        )
        answer = ProbeAnswer(
            status=AnswerStatus.ANSWERED,
            text=model.decode(output),
            token_ids=output,
            logprobs=positions,
        )
        probed.append(Probed(probe=probe, answer=answer))
    return probed


@cache
def kl_section() -> Section:
    probes = KL.plan(ENDPOINT, b"calibration", 60)
    honest = {copy: answers(probes, copy) for copy in ("bfloat16", "float32")}
    return KlCalibrator(TOOLS, SETTINGS).fit(honest, error=ERROR)


@cache
def tracking_section() -> Section:
    probes = TRACKING.plan(ENDPOINT, b"calibration", 80)
    honest = {copy: answers(probes, copy) for copy in ("bfloat16", "float32")}
    return TrackingCalibrator(TOOLS, SETTINGS).fit(honest, error=ERROR)


@cache
def binding_section() -> Section:
    probes = BINDING.plan(ENDPOINT, b"calibration", 50)
    return BindingCalibrator(TOOLS, SETTINGS).fit(
        {"bfloat16": answers(probes, "bfloat16")}, error=ERROR
    )


@cache
def kl_reading(copy: str) -> Reading:
    detector = LogprobKl(TOOLS, kl_section(), SETTINGS)
    return detector.read(ENDPOINT, answers(detector.plan(ENDPOINT, b"test", 24), copy))


def test_kl_leaves_honest_arithmetic_alone() -> None:
    for copy in ("bfloat16", "float32"):
        reading = kl_reading(copy)
        assert reading.status is ReadingStatus.READ
        assert (reading.num_used, len(reading.log_e_nats_N), len(reading.tells)) == (24, 24, 24)
        assert max(reading.log_e_nats_N) < 1.0
        assert reading.honest_tell_rate is not None and 0.0 < reading.honest_tell_rate < 0.2


@pytest.mark.parametrize(("copy", "most"), [("int4-g32", 20), ("sibling", 12)])
def test_kl_finds_other_models_and_names_them(copy: str, most: int) -> None:
    reading = kl_reading(copy)
    found = [index + 1 for index, value in enumerate(reading.log_e_nats_N) if value >= 4.6]
    assert found and found[0] <= most
    assert max(reading.candidates, key=lambda c: c.log_likelihood_nats).name == copy


def test_kl_says_what_could_have_been_seen() -> None:
    visible = kl_reading("bfloat16").visible
    assert visible is not None and visible.smallest_share is not None
    assert dict(visible.needed)["sibling"] <= dict(visible.needed)["int4-g32"] <= 40
    assert "sibling takes about" in visible.statement


def test_spellings_stand_for_tokens() -> None:
    detector = LogprobKl(TOOLS, kl_section(), SETTINGS)
    probes = detector.plan(ENDPOINT, b"spelt", 6)
    by_id = detector.read(ENDPOINT, answers(probes, "int4-g32"))
    by_text = detector.read(ENDPOINT, answers(probes, "int4-g32", spelt=True))
    # spellings that several tokens share are lumped, which only lowers a divergence
    assert by_text.num_used == by_id.num_used
    assert dict(by_text.statistics)["median_distance_nats"] == pytest.approx(
        dict(by_id.statistics)["median_distance_nats"], rel=0.2
    )


def test_a_prompt_counts_once_and_failures_add_nothing() -> None:
    detector = LogprobKl(TOOLS, kl_section(), SETTINGS)
    probed = answers(detector.plan(ENDPOINT, b"twice", 4), "sibling")
    failed = Probed(
        probe=probed[0].probe, answer=ProbeAnswer(status=AnswerStatus.TIMED_OUT, error="late")
    )
    once = detector.read(ENDPOINT, probed)
    again = detector.read(ENDPOINT, [failed, *probed, *probed])
    assert again.log_e_nats_N == once.log_e_nats_N
    assert (again.num_sent, again.num_used) == (9, 4)
    assert "1 of 9 requests were not answered." in again.notes


def test_tracking_waits_for_all_answers_to_a_prompt() -> None:
    detector = LogprobTracking(TOOLS, tracking_section(), SETTINGS)
    probes = detector.plan(ENDPOINT, b"test", 30)
    assert len({probe.prompt for probe in probes}) == 15
    honest = detector.read(ENDPOINT, answers(probes, "float32"))
    assert max(honest.log_e_nats_N) < 1.0
    assert (honest.num_used, len(honest.tells)) == (30, 15)
    foreign = detector.read(ENDPOINT, answers(probes, "sibling"))
    assert foreign.log_e_nats_N[0] == 0.0 and max(foreign.log_e_nats_N) >= 4.6
    assert foreign.tells.count("1") >= 11
    # tells are set against a rate for each prompt, and attacks have theirs
    assert foreign.honest_tell_rate is not None and foreign.honest_tell_rate < 0.5
    assert {"tell_rate:int4-g32", "tell_rate:sibling"} <= set(dict(foreign.statistics))


def test_tracking_asks_a_series_the_same_prompts_in_every_run() -> None:
    detector = LogprobTracking(TOOLS, None, SETTINGS, series_seed=b"series")
    assert detector.plan(ENDPOINT, b"one", 8) == detector.plan(ENDPOINT, b"two", 8)
    assert TRACKING.plan(ENDPOINT, b"one", 8) != TRACKING.plan(ENDPOINT, b"two", 8)


def test_binding_leaves_models_alone_that_own_their_text() -> None:
    detector = LogprobBinding(TOOLS, binding_section(), SETTINGS)
    probes = detector.plan(ENDPOINT, b"test", 30)
    for copy in ("bfloat16", "sibling"):
        assert max(detector.read(ENDPOINT, answers(probes, copy)).log_e_nats_N) < 3.0


def test_binding_finds_text_of_a_sibling_under_true_log_probabilities() -> None:
    detector = LogprobBinding(TOOLS, binding_section(), SETTINGS)
    probed = answers(detector.plan(ENDPOINT, b"test", 30), "sibling", logprobs_of="bfloat16")
    assert max(detector.read(ENDPOINT, probed).log_e_nats_N) >= 4.6
    # its numbers are the claimed model's, so distances alone see nothing
    kl = LogprobKl(TOOLS, kl_section(), SETTINGS)
    laundered = answers(kl.plan(ENDPOINT, b"test", 8), "sibling", logprobs_of="bfloat16")
    assert max(kl.read(ENDPOINT, laundered).log_e_nats_N) < 1.0


def test_a_real_server_that_launders_is_found_over_http() -> None:
    detector = LogprobBinding(TOOLS, binding_section(), SETTINGS)
    probes = detector.plan(ENDPOINT, b"http", 24)
    honest = detector.read(ENDPOINT, ask("honest-batch-8", probes))
    assert honest.num_used == 24 and max(honest.log_e_nats_N) < 3.0
    assert max(detector.read(ENDPOINT, ask("laundered-sibling", probes)).log_e_nats_N) >= 4.6


def test_chat_endpoints_are_asked_by_messages() -> None:
    endpoint = replace(ENDPOINT, api=ApiStyle.CHAT)
    detector = LogprobKl(TOOLS, kl_section(), SETTINGS)
    probes = detector.plan(endpoint, b"chat", 6)
    assert all(probe.prompt.messages for probe in probes)
    reading = detector.read(endpoint, ask("honest-batch-8", probes, endpoint))
    assert reading.num_used == 6 and max(reading.log_e_nats_N) < 1.0


def test_without_calibration_or_log_probabilities_nothing_is_said() -> None:
    silent = replace(ENDPOINT, offers_logprobs=False)
    for detector in (KL, TRACKING, BINDING):
        assert detector.plan(silent, b"s", 8) == ()
        assert detector.read(silent, []).status is ReadingStatus.NOT_APPLICABLE
        assert detector.read(ENDPOINT, []).status is ReadingStatus.UNCALIBRATED
    calibrated = LogprobKl(TOOLS, kl_section(), SETTINGS)
    assert calibrated.read(ENDPOINT, []).status is ReadingStatus.TOO_LITTLE
    bare = [
        replace(item, answer=replace(item.answer, logprobs=()))
        for item in answers(KL.plan(ENDPOINT, b"s", 2), "bfloat16")
    ]
    assert calibrated.read(ENDPOINT, bare).status is ReadingStatus.NOT_APPLICABLE
    foreign_ids = [
        replace(item, answer=replace(item.answer, token_ids=(10**6,) * 4)) for item in bare
    ]
    assert calibrated.read(ENDPOINT, foreign_ids).num_used == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"numTop": 4}, "measured with numTop 4, this sweep uses 5"),
        ({"numTop": 5.0}, "measured with numTop 5.0"),
        ({"detector": "other/1"}, "measured with detector 'other/1'"),
        ({"extra": 1}, "malformed"),
    ],
)
def test_sections_of_other_settings_are_refused(change: Mapping[str, object], said: str) -> None:
    for make, section in (
        (LogprobKl, kl_section()),
        (LogprobTracking, tracking_section()),
        (LogprobBinding, binding_section()),
    ):
        with pytest.raises(CalibrationError, match=said):
            make(TOOLS, {**section, **change}, SETTINGS)


def test_a_calibration_needs_answers_and_a_probability() -> None:
    few = {"one": answers(KL.plan(ENDPOINT, b"few", 3), "bfloat16")}
    with pytest.raises(CalibrationError, match="gave 3 usable answers"):
        KlCalibrator(TOOLS, SETTINGS).fit(few, error=ERROR)
    with pytest.raises(CalibrationError, match="does not lie between"):
        KlCalibrator(TOOLS, SETTINGS).fit(few, error=1.0)
    with pytest.raises(CalibrationError, match=r"greedy and .* sampled answers"):
        BindingCalibrator(TOOLS, SETTINGS).fit({"one": []}, error=ERROR)


def test_an_engine_whose_numbers_are_not_its_law_cannot_be_calibrated() -> None:
    probes = BINDING.plan(ENDPOINT, b"launder", 50)
    honest = {"odd": answers(probes, "sibling", logprobs_of="bfloat16")}
    with pytest.raises(CalibrationError, match="leave logprob-binding/1 out"):
        BindingCalibrator(TOOLS, SETTINGS).fit(honest, error=ERROR)


def test_plans_depend_on_the_seed_alone() -> None:
    endpoint: Endpoint = ENDPOINT
    for detector in (KL, TRACKING, BINDING):
        assert detector.plan(endpoint, b"a", 12) == detector.plan(endpoint, b"a", 12)
        ids = [probe.probe_id for probe in detector.plan(endpoint, b"a", 12)]
        assert len(set(ids)) == len(ids) == 12
