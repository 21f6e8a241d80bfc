"""Sweep policies: every value stated, bad files refused by name, an id that follows the content."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import ConfigurationError, InvalidRequest
from audit.sweeps.policy import (
    DEFAULT_PATH,
    DETECTORS,
    MAX_FILE_BYTES,
    OverRuns,
    SweepPolicy,
    load_sweep_policy,
)

DEFAULT = DEFAULT_PATH.read_text(encoding="utf-8")


MUST_SEE = '["int4-g32", "fp8-e4m3", "int8-g32"]'


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "sweep.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_sweep_policy(path)
    return str(caught.value)


def test_the_bundled_policy_states_what_the_file_says() -> None:
    policy = load_sweep_policy()
    assert policy.false_alarm_rate == 0.01
    assert policy.over_runs is OverRuns.EACH_RUN
    assert [rule.detector for rule in policy.detectors] == list(DETECTORS)
    assert policy.rule_of("border-greedy/1").num_probes == 160
    assert policy.rule_of("preflight/1").weight == 0.0
    assert isinstance(policy, SweepPolicy)
    assert hash(policy) == hash(load_sweep_policy(DEFAULT_PATH))


def test_every_line_of_the_bundled_policy_is_explained() -> None:
    explained = False
    for line in DEFAULT.splitlines():
        if not line.strip():
            explained = False
        elif line.startswith("#"):
            explained = True
        elif not line.startswith("["):
            assert explained or "  # " in line, line
            # one paragraph of comment may speak for the value after it only
            explained = explained and line.startswith(('"', "must_see", "max_blind"))


def test_the_id_follows_the_values_and_not_the_spelling(tmp_path: Path) -> None:
    policy = load_sweep_policy()
    bare = re.sub(r"(?m)\s*#.*$", "", DEFAULT)
    assert load_sweep_policy(written(tmp_path, bare)).policy_id == policy.policy_id
    assert load_sweep_policy(written(tmp_path, b"\xef\xbb\xbf" + bare.encode())) == policy
    assert policy.policy_id.startswith("sha256:")
    for changed in ("min_share = 0.05", "arl_runs = 1000", '"border-seeded/1" = { weight = 3.0'):
        other = DEFAULT.replace(
            changed, re.sub(r"[\d.]+$", "7" if "runs" in changed else "0.5", changed)
        )
        assert other != DEFAULT
        assert load_sweep_policy(written(tmp_path, other)).policy_id != policy.policy_id


def test_the_error_is_split_between_test_and_calibration_and_over_runs() -> None:
    policy = load_sweep_policy()
    assert policy.test_rate(1) == policy.test_rate(1000) == pytest.approx(0.0075)
    assert policy.log_threshold_nats(1) == pytest.approx(math.log(1 / 0.0075))
    ever = replace(policy, over_runs=OverRuns.ALL_RUNS)
    assert sum(ever.test_rate(k) for k in range(1, 200_000)) == pytest.approx(0.0075, rel=1e-4)
    assert ever.test_rate(1) == pytest.approx(0.0075 * 6 / math.pi**2)
    with pytest.raises(InvalidRequest, match="run_number: must be 1 for the first run"):
        policy.test_rate(0)


def test_calibration_errors_of_all_weighted_detectors_sum_to_their_part() -> None:
    policy = load_sweep_policy()
    weighted = [rule.detector for rule in policy.detectors if rule.weight]
    errors = [policy.calibration_error(name) for name in weighted]
    assert sum(errors) == pytest.approx(0.0025)
    assert policy.calibration_error("preflight/1") == min(errors)
    with pytest.raises(InvalidRequest, match="'nobody/1' is not known; known are: preflight/1"):
        policy.rule_of("nobody/1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no sweep policy"),
        ("format = ", "is not valid TOML"),
        (DEFAULT.replace("sweep-policy/v1", "policy/v1"), "is no sweep policy"),
        (DEFAULT.replace("version = 1", "version = 0"), "version must be a whole number from 1"),
        (
            DEFAULT.replace("version = 1", "version = true"),
            "whole number from 1 to 1000000000, found true",
        ),
        (DEFAULT.replace("version = 1", f"version = 0x{'f' * 400}"), "a very large number"),
        (DEFAULT.replace("version = 1", "version = 2026-01-01"), "found a date or time"),
        (DEFAULT.replace('name = "default"', "name = []"), "must be a line of text, found a list"),
        (DEFAULT.replace('name = "default"', f'name = "{"n" * 200}"'), "200 characters; 100"),
        (DEFAULT.replace("target = 0.9", "target = nan"), "power.target must be a number"),
        (DEFAULT.replace("target = 0.9", 'target = "x"'), 'found "x"'),
        (DEFAULT.replace("min_share = 0.05", ""), "share.min_share is missing"),
        (
            DEFAULT.replace("min_share = 0.05", "min_share = 0.05\nmore = 1"),
            "share.more is not known",
        ),
        (
            DEFAULT.replace('"each_run"  ', '"never"').replace('"each_run"', '"never"'),
            "each_run, all_runs",
        ),
        (DEFAULT.replace(MUST_SEE, '["a", "a"]'), "names something twice"),
        (DEFAULT.replace(MUST_SEE, "[3]"), "must be a line of text, found 3"),
        (DEFAULT.replace(MUST_SEE, '"int4-g32"'), "must be a list"),
        (DEFAULT.replace('"replay/1" = {', '"replay/2" = {'), "detectors.replay/2 is not known"),
        (DEFAULT.replace("{ weight = 2.0, num_probes = 24 }", "3"), "replay/1 must be a table"),
        (DEFAULT.replace("{ weight = 2.0, num", "{ wait = 2.0, num"), "replay/1.wait is not known"),
        (re.sub(r"weight = [\d.]+", "weight = 0", DEFAULT), "at least a weight above 0"),
        (
            DEFAULT.replace("arl_runs = 1000", "arl_runs = 1"),
            "drift.arl_runs must be a whole number",
        ),
        (f"x = {'[' * 20000}", "nested too deeply"),
        (b'name = "caf\xe9"', "is no UTF-8 text (byte 11); save it as UTF-8"),
        ("# so much to say\n" * (MAX_FILE_BYTES // 16), "is larger than any policy (64 KiB)"),
    ],
    ids=range(25),
)
def test_a_bad_file_is_refused_with_advice(text: str | bytes, says: str, tmp_path: Path) -> None:
    told = refusal(written(tmp_path, text))
    assert says in told
    assert told.isprintable()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "name a TOML file" in refusal(tmp_path / "missing.toml")
    assert "name a TOML file" in refusal(tmp_path)


@given(junk=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@settings(max_examples=100, deadline=None)
def test_junk_is_refused_without_a_traceback(
    junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk-sweep.toml"
    path.write_bytes(junk)
    with pytest.raises(ConfigurationError):
        load_sweep_policy(path)
