"""`policy`: what a policy says, in words and as JSON, and which ones are refused."""

import hashlib
from pathlib import Path

import pytest
import rfc8785

from audit.judge.policy import DEFAULT_PATH, EXPLANATIONS, load_policy
from tests.unit.cli.command import run

DEFAULT = DEFAULT_PATH.read_text(encoding="utf-8")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    text = DEFAULT.replace('name = "default"', 'name = "[red]ours[/]"')
    text = text.replace("false_alarm_rate = 0.01", "false_alarm_rate = 0.001")
    path.write_text(text.replace("routing = true", "routing = false"), encoding="utf-8")
    return path


def test_the_bundled_policy_is_shown_with_every_value() -> None:
    done = run("policy", "show")
    assert done.code == 0
    assert load_policy().policy_id in done.stdout
    assert "odds of 133.3 to 1" in done.stdout
    content = load_policy().content()
    for section, values in content.items():
        for key in values if isinstance(values, dict) else ():
            assert f"{section}.{key}" in done.stdout
    assert all(f"diagnosis.dispositions.{name}" in done.stdout for name in EXPLANATIONS)
    words = " ".join(done.stdout.split())
    assert "errors.false_alarm_rate │ 1 % │ chance of failing" in words
    assert "claim.tolerated_precisions │ none │" in words
    assert "pass.max_noise_ratio │ 2.0 │ times the honest noise;" in words
    assert "detectors.routing │ yes │" in words


def test_an_own_policy_is_shown(own: Path) -> None:
    done = run("policy", "show", "--policy", own)
    assert done.code == 0
    words = " ".join(done.stdout.split())
    assert f"[red]ours[/], version 1, from {own}" in words
    assert "errors.false_alarm_rate │ 0.1 % │" in words
    assert "detectors.routing │ no │" in words


def test_programs_can_recompute_the_id(own: Path) -> None:
    for arguments, file in (((), DEFAULT_PATH), (("--policy", own), own)):
        done = run("policy", "show", "--json", *arguments)
        assert done.code == 0
        (line,) = done.lines
        digest = hashlib.sha256(rfc8785.dumps(line["content"])).hexdigest()
        assert line["policy_id"] == f"sha256:{digest}" == load_policy(file).policy_id
        assert line["file"] == str(file)
        assert line["version"] == 1
    assert line["test_rate"] == pytest.approx(0.00075)
    assert line["calibration_rate"] == pytest.approx(0.00025)
    assert line["log10_threshold"] == pytest.approx(3.1249, abs=1e-4)


def test_a_good_policy_passes_the_check(own: Path) -> None:
    done = run("policy", "check", own)
    assert done.code == 0
    assert f"{own}: usable; [red]ours[/], version 1, {load_policy(own).policy_id}" in done.stdout


@pytest.mark.parametrize("command", [("check",), ("show", "--policy")], ids=" ".join)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("what?", "is not valid TOML"),
        (DEFAULT.replace("target = 0.9", "target = 9"), "power.target must be a number"),
        (DEFAULT.replace("min_tokens", "min_words"), "pass.min_words is not known here"),
    ],
)
def test_a_bad_policy_is_a_usage_error(
    command: tuple[str, ...], text: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    done = run("policy", *command, path)
    assert done.code == 64
    assert done.stdout == ""
    assert says in done.stderr


def test_usage_is_explained() -> None:
    assert run("policy", "check").code == 64
    assert "Missing argument" in run("policy", "check").stderr
    bare = run("policy")
    assert bare.code == 64
    assert "inference-audit policy" in bare.stdout + bare.stderr
    assert "cannot read the policy" in run("policy", "check", "no-such.toml").stderr
