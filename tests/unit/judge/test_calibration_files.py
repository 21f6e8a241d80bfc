"""A calibration file is read back as it was written, or refused by name; kinds are kept apart."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.errors import CalibrationError, CannotJudge
from audit.judge import calibration_file
from audit.judge.bins import NUM_BINS
from audit.judge.calibration import Calibration, Holdout, Stratum
from audit.judge.calibration_file import load_calibration, save_calibration, seal_calibration
from audit.records import Reason
from tests.support.measurements import (
    CREATED_AT,
    DIGEST,
    PROFILE,
    collect,
    evidence_of,
    honest_calibration,
    honest_traffic,
    measurement_of,
    sampling_of,
)

Body = dict[str, Any]
Change = Callable[[Body], object]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return honest_calibration(num_exchanges=20, num_tokens=30)


@pytest.fixture
def body(calibration: Calibration, tmp_path: Path) -> Body:
    save_calibration(calibration, tmp_path / "good.json")
    loaded: Body = json.loads((tmp_path / "good.json").read_text(encoding="utf-8"))
    return loaded


def written(folder: Path, body: Body) -> Path:
    path = folder / "changed.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CalibrationError) as caught:
        load_calibration(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_calibration_survives_its_file(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "calibration.json"
    save_calibration(calibration, path)
    loaded = load_calibration(path)
    assert loaded.calibration_id == calibration.calibration_id
    for one, other in zip(loaded.strata, calibration.strata, strict=True):
        assert replace(one, variants=()) == replace(other, variants=())
        for mine, its in zip(one.variants, other.variants, strict=True):
            assert replace(mine, counts=its.counts) == its
            assert (mine.counts.num_calls_B == its.counts.num_calls_B).all()
            assert (mine.counts.num_mismatches_B == its.counts.num_mismatches_B).all()
            assert (mine.counts.num_far_B == its.counts.num_far_B).all()


def test_the_id_is_the_digest_of_all_the_rest(calibration: Calibration) -> None:
    sealed = seal_calibration(created_at=CREATED_AT, model_digest=DIGEST, strata=calibration.strata)
    assert sealed.calibration_id == calibration.calibration_id
    assert calibration.calibration_id.startswith("sha256:")
    others = [
        seal_calibration(created_at="x", model_digest=DIGEST, strata=calibration.strata),
        seal_calibration(created_at=CREATED_AT, model_digest="x", strata=calibration.strata),
        seal_calibration(created_at=CREATED_AT, model_digest=DIGEST, strata=()),
    ]
    assert len({c.calibration_id for c in [calibration, *others]}) == 4


def test_a_calibration_that_cannot_be_written_is_named(
    calibration: Calibration, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError, match="cannot write"):
        save_calibration(calibration, tmp_path)


def _set(*keys: str | int, to: object) -> Change:
    def change(body: Body) -> None:
        target: Any = body
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = to

    return change


VARIANT = ("strata", 0, "variants", 0)

CHANGED: dict[str, Change] = {
    "one_more_token": _set(*VARIANT, "num_tokens", to=10**6),
    "other_model": _set("model_digest", to="sha256:" + "cd" * 32),
    "other_time": _set("created_at", to="2027-01-01T00:00:00Z"),
    "other_name": _set(*VARIANT, "name", to="batch-2"),
    "other_source": _set(*VARIANT, "source", to="generated"),
    "other_noise": _set(*VARIANT, "noise_logits", to=0.5),
    "other_cover": _set("strata", 0, "has_top_k", to=True),
    "no_holdouts": _set("strata", 0, "holdouts", to=[]),
    "fewer_alarms": _set("strata", 0, "holdouts", 0, "num_false_alarms", to=-1),
    "other_id": _set("calibration_id", to="sha256:" + "00" * 32),
    "no_id": lambda body: body.pop("calibration_id"),
    "a_count_more": _set(*VARIANT, "num_calls_B", 5, to=10**6),
    "one_variant_only": lambda body: body["strata"][0]["variants"].pop(),
    "one_kind_less": lambda body: body["strata"].pop(),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_calibration_is_noticed(name: str, body: Body, tmp_path: Path) -> None:
    CHANGED[name](body)
    assert "was changed after it was made" in refusal(written(tmp_path, body))


MALFORMED: dict[str, Change] = {
    "strata_missing": lambda body: body.pop("strata"),
    "strata_no_list": _set("strata", to=3),
    "stratum_no_object": _set("strata", 0, to="x"),
    "stratum_without_key": lambda body: body["strata"][0].pop("key"),
    "key_without_precision": lambda body: body["strata"][0]["key"].pop("precision"),
    "profile_no_text": _set("strata", 0, "key", "profile_id", to=3),
    "flag_no_flag": _set("strata", 0, "has_sampled", to=1),
    "inferred_no_flag": _set("strata", 0, "key", "ids_inferred", to="yes"),
    "no_variants": _set("strata", 0, "variants", to=[]),
    "variant_no_object": _set(*VARIANT, to=[]),
    "variant_without_counts": lambda body: body["strata"][0]["variants"][0].pop("num_far_B"),
    "noise_of_zero": _set(*VARIANT, "noise_logits", to=0.0),
    "noise_negative": _set(*VARIANT, "noise_logits", to=-1.0),
    "noise_infinite": _set(*VARIANT, "noise_logits", to=float("inf")),
    "noise_no_number": _set(*VARIANT, "noise_logits", to="loud"),
    "tokens_no_number": _set(*VARIANT, "num_tokens", to="many"),
    "tokens_too_many_for_json": _set(*VARIANT, "num_tokens", to=10**30),
    "engines_no_list": _set(*VARIANT, "engines", to=5),
    "too_few_counts": _set(*VARIANT, "num_calls_B", to=[0] * (NUM_BINS - 1)),
    "too_many_counts": _set(*VARIANT, "num_calls_B", to=[0] * (NUM_BINS + 1)),
    "counts_no_list": _set(*VARIANT, "num_calls_B", to="0" * NUM_BINS),
    "count_negative": _set(*VARIANT, "num_far_B", 0, to=-1),
    "count_no_whole_number": _set(*VARIANT, "num_calls_B", 0, to=1.5),
    "count_a_flag": _set(*VARIANT, "num_calls_B", 0, to=True),
    "count_beyond_64_bits": _set(*VARIANT, "num_calls_B", 0, to=2**70),
    "count_too_large_for_json": _set(*VARIANT, "num_calls_B", 0, to=2**60),
    "more_mismatches_than_calls": _set(*VARIANT, "num_mismatches_B", 0, to=10**9),
    "more_far_ones_than_mismatches": _set(*VARIANT, "num_far_B", 0, to=10**9),
    "holdout_without_rate": lambda body: body["strata"][0]["holdouts"][0].pop("false_alarm_rate"),
    "rate_no_number": _set("strata", 0, "holdouts", 0, "false_alarm_rate", to=float("nan")),
    "model_no_text": _set("model_digest", to=None),
    "time_no_text": _set("created_at", to=2026),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_calibration_is_refused(name: str, body: Body, tmp_path: Path) -> None:
    MALFORMED[name](body)
    assert "is malformed" in refusal(written(tmp_path, body))


def test_a_file_of_the_first_format_is_refused_with_advice(body: Body, tmp_path: Path) -> None:
    body["format"] = "inference-audit/calibration/v1"
    assert "make one with `inference-audit calibrate`" in refusal(written(tmp_path, body))
    del body["format"]
    assert "is no calibration" in refusal(written(tmp_path, body))


@pytest.mark.parametrize("name", calibration_file.BINNING)
def test_counts_in_other_bins_are_refused(name: str, body: Body, tmp_path: Path) -> None:
    body["binning"][name] *= 2
    assert "other bins" in refusal(written(tmp_path, body))
    del body["binning"]
    assert "calibrate anew" in refusal(written(tmp_path, body))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}'],
    ids=["empty", "cut", "list", "null", "not_utf8", "nested", "nan"],
)
def test_a_file_that_is_no_calibration_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    assert refusal(path)


def test_a_huge_file_is_refused_unread(
    body: Body, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, body)
    monkeypatch.setattr(calibration_file, "MAX_FILE_BYTES", path.stat().st_size)
    assert load_calibration(path).model_digest == DIGEST
    monkeypatch.setattr(calibration_file, "MAX_FILE_BYTES", path.stat().st_size - 1)
    assert "larger than any calibration" in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "cannot read the calibration" in refusal(tmp_path / "missing.json")


def stratum_of(
    calibration: Calibration,
    *,
    profile: str = PROFILE,
    precision: str = "bfloat16",
    digest: str = DIGEST,
    min_variants: int = 2,
    **parts: Any,
) -> Stratum:
    plan = measurement_of(evidence_of([0.0]), **parts).plan
    return calibration.stratum_for(plan, profile, precision, digest, min_variants)


def refused(calibration: Calibration, **parts: Any) -> CannotJudge:
    with pytest.raises(CannotJudge) as caught:
        stratum_of(calibration, **parts)
    return caught.value


def with_stratum(calibration: Calibration, **parts: Any) -> Calibration:
    return replace(calibration, strata=(replace(calibration.strata[0], **parts),))


def test_an_exchange_of_a_calibrated_kind_has_its_stratum(calibration: Calibration) -> None:
    assert stratum_of(calibration) is calibration.strata[0]
    assert stratum_of(calibration, sampling=sampling_of(1.3)) is calibration.strata[0]


@pytest.mark.parametrize(
    "other",
    [
        {"digest": "sha256:" + "cd" * 32},
        {"profile": "torch-cpu-exponential"},
        {"precision": "float32"},
        {"ids_inferred": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_an_exchange_of_another_kind_is_uncalibrated(
    calibration: Calibration, other: dict[str, Any]
) -> None:
    assert refused(calibration, **other).reason is Reason.UNCALIBRATED


def test_the_refusal_names_what_is_calibrated(calibration: Calibration) -> None:
    text = str(refused(calibration, ids_inferred=True))
    assert f"{PROFILE}, bfloat16" in text and "inferred" in text
    empty = replace(calibration, strata=())
    assert "Calibrated are: none" in str(refused(empty))


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        (sampling_of(top_k=5), "top_k"),
        (sampling_of(top_p=0.9), "top_p"),
        (sampling_of(top_k=5, top_p=0.9), "top_k and top_p"),
    ],
)
def test_filters_that_no_honest_traffic_had_are_outside_the_calibration(
    calibration: Calibration, sampling: object, named: str
) -> None:
    error = refused(calibration, sampling=sampling)
    assert error.reason is Reason.OUTSIDE_CALIBRATION
    assert f"with {named};" in str(error)
    covered = with_stratum(calibration, has_top_k=True, has_top_p=True)
    assert stratum_of(covered, sampling=sampling) is covered.strata[0]


def test_greedy_traffic_does_not_cover_sampling_but_sampling_covers_greedy_answers(
    calibration: Calibration,
) -> None:
    greedy = with_stratum(calibration, has_sampled=False)
    error = refused(greedy)
    assert error.reason is Reason.OUTSIDE_CALIBRATION and "temperature" in str(error)
    for one in (greedy, calibration):
        sampling = sampling_of(0.0, top_k=5, top_p=0.5)
        assert stratum_of(one, sampling=sampling) is one.strata[0]


def test_one_variant_is_too_narrow(calibration: Calibration) -> None:
    single = with_stratum(calibration, variants=calibration.strata[0].variants[:1], holdouts=())
    error = refused(single)
    assert error.reason is Reason.CALIBRATION_TOO_NARROW
    assert "calibrate --generate" in str(error)
    assert stratum_of(single, min_variants=1) is single.strata[0]
    assert refused(calibration, min_variants=3).reason is Reason.CALIBRATION_TOO_NARROW


def holdout(num_false_alarms: int, num_exchanges: int = 100) -> Holdout:
    return Holdout(
        variant="batch-16",
        num_exchanges=num_exchanges,
        num_false_alarms=num_false_alarms,
        false_alarm_rate=0.01,
    )


def test_variants_that_contradict_each_other_are_too_narrow(calibration: Calibration) -> None:
    error = refused(with_stratum(calibration, holdouts=(holdout(0), holdout(20))))
    assert error.reason is Reason.CALIBRATION_TOO_NARROW
    assert "batch-16" in str(error)


@pytest.mark.parametrize(
    ("num_false_alarms", "num_exchanges", "is_alarming"),
    [
        (0, 20, False),
        (0, 1000, False),
        (4, 100, False),
        (5, 100, True),
        (1, 20, False),
        (3, 20, True),
        (10, 1000, False),
        (20, 1000, True),
    ],
)
def test_a_holdout_alarms_where_chance_does_not_explain_it(
    num_false_alarms: int, num_exchanges: int, is_alarming: bool
) -> None:
    assert holdout(num_false_alarms, num_exchanges).is_alarming is is_alarming


def test_the_noise_of_a_kind_is_that_of_its_noisiest_variant(calibration: Calibration) -> None:
    (stratum,) = calibration.strata
    assert stratum.noise_logits == max(v.noise_logits for v in stratum.variants)


def test_kinds_are_told_in_words() -> None:
    inferred = [(n, replace_plan(m)) for n, m in honest_traffic(20, 30)]
    (stratum,) = collect(inferred)[0].strata
    assert str(stratum.key) == f"{PROFILE}, bfloat16, token ids inferred from text"


def replace_plan(measured: Any) -> Any:
    return replace(measured, plan=replace(measured.plan, ids_inferred=True))


def test_what_is_stated_twice_is_refused(calibration: Calibration, tmp_path: Path) -> None:
    (stratum,) = calibration.strata
    one = stratum.variants[0]
    twice = (
        [stratum, stratum],
        [replace(stratum, variants=(one, one))],
    )
    for number, strata in enumerate(twice):
        path = tmp_path / f"{number}.json"
        sealed = seal_calibration(
            created_at=calibration.created_at,
            model_digest=calibration.model_digest,
            strata=strata,
        )
        save_calibration(sealed, path)
        with pytest.raises(CalibrationError, match="twice"):
            load_calibration(path)
