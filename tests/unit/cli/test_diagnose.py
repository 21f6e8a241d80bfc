"""`diagnose`: what it prints, what it hands to the diagnoser, and how it refuses bad arguments."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from audit.cases import Case
from audit.cli import diagnose, profiles
from audit.cli.diagnose import MEANINGS
from audit.config import ReplaySettings
from audit.errors import CalibrationError, ConfigurationError
from audit.examine import Examiner, Replayer
from audit.findings import Disposition, Explanation
from audit.records import Examination, Measurement, Outcome, Verdict
from tests.support.example_model import MODEL, TRAFFIC
from tests.unit.test_diagnose import World

FILE = TRAFFIC / "cheat-other-checkpoint.jsonl"
EXPLANATION = Explanation(
    name="temperature",
    statement="sampled at temperature 0.77 [sic] instead of 0.7",
    disposition=Disposition.MISCONFIGURED,
    probability=0.75,
    log_likelihood_nats=-3.0,
    estimate=0.77,
)


@dataclass(slots=True)
class Recorder:
    """Stands for a diagnoser; remembers what it was made of and given."""

    max_tokens: int = 500
    siblings: Mapping[str, object] = field(default_factory=dict)
    system_prompts: tuple[str, ...] = ()
    cases: list[Case] = field(default_factory=list)

    def __call__(self, cases: Sequence[Case]) -> tuple[Explanation, ...]:
        self.cases = list(cases)
        return (EXPLANATION,) if cases else ()


class Library:
    """Knows one model under any name."""

    def open(self, claim: object) -> World:
        return World(strays=lambda sequence: 0.5)


def judge_of(outcome: Outcome) -> Any:
    def judge(measured: Measurement) -> Examination:
        verdict = Verdict(outcome=outcome, precision="bfloat16")
        return Examination(verdict=verdict, evidence=measured.evidences[0])

    return judge


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Replace model, calibration and diagnoser; everything fails."""
    found = Recorder()

    def build(*_: object, siblings: Mapping[str, object], system_prompts: Sequence[str]) -> object:
        found.siblings, found.system_prompts = siblings, tuple(system_prompts)
        return found

    monkeypatch.setattr("audit.app.replay.build_diagnoser", build)
    monkeypatch.setattr(
        "audit.app.replay.load_calibration", lambda path: SimpleNamespace(strata=())
    )
    monkeypatch.setattr("audit.app.replay.build_library", lambda settings: Library())
    use(monkeypatch, Outcome.FAIL)
    return found


def use(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    def build_examiner(settings: ReplaySettings) -> Examiner:
        return Examiner(
            replay=Replayer(library=Library(), profile=settings.profile), judge=judge_of(outcome)
        )

    monkeypatch.setattr("audit.app.build_examiner", build_examiner)


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    """Return five exchanges."""
    path = tmp_path / "some.jsonl"
    with FILE.open(encoding="utf-8") as lines:
        exchanges = [json.loads(line) for line in islice(lines, 5)]
    for exchange in exchanges:
        # the world's tokenizer makes other tokens than the engine says it used
        for choice in exchange["response"]["choices"]:
            choice.pop("prompt_token_ids")
    path.write_text("".join(json.dumps(e) + "\n" for e in exchanges), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    app = typer.Typer()
    # a lone command would lose its name
    for group in (diagnose, profiles):
        group.register(app)
    given = ("diagnose", "--model", MODEL, "--calibration", "honest.json", *arguments)
    return CliRunner().invoke(app, [str(a) for a in given])


def test_a_table_tells_share_name_statement_and_meaning(recorder: Recorder, traffic: Path) -> None:
    done = run("--traffic", traffic)
    assert done.exit_code == 1
    shown = " ".join(done.stdout.split())
    for words in ("75.0%", "temperature", "0.77 [sic]", "not as it was", "5 FAIL"):
        assert words in shown


def test_a_line_holds_the_same_for_programs(recorder: Recorder, traffic: Path) -> None:
    done = run("--traffic", traffic, "--json")
    line = json.loads(done.stdout)
    assert line["outcomes"] == {"PASS": 0, "FAIL": 5, "INCONCLUSIVE": 0}
    (explanation,) = line["diagnosis"]
    assert explanation["name"] == "temperature" and explanation["estimate"] == 0.77


def test_no_more_cases_are_kept_than_are_replayed(recorder: Recorder, traffic: Path) -> None:
    run("--traffic", traffic)
    lengths = [case.evidence.num_tokens for case in recorder.cases]
    assert sum(lengths) >= recorder.max_tokens > sum(lengths[:-1])
    assert len(lengths) < 5


@pytest.mark.parametrize(("outcome", "code"), [(Outcome.PASS, 0), (Outcome.INCONCLUSIVE, 2)])
def test_without_a_fail_there_is_nothing_to_explain(
    recorder: Recorder, traffic: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, code: int
) -> None:
    use(monkeypatch, outcome)
    done = run("--traffic", traffic)
    assert done.exit_code == code and "nothing to explain" in done.stdout
    assert json.loads(run("--traffic", traffic, "--json").stdout)["diagnosis"] == []


def test_siblings_and_system_prompts_reach_the_diagnoser(recorder: Recorder, traffic: Path) -> None:
    more = ("--sibling", f"a={MODEL}", "--sibling", f"b={MODEL}", "--system-prompt", "obey")
    run("--traffic", traffic, *more)
    assert list(recorder.siblings) == ["a", "b"]
    assert recorder.system_prompts == ("obey",)


@pytest.mark.parametrize(
    "more",
    [
        ("--sibling", str(MODEL)),
        ("--sibling", f"a={MODEL}", "--sibling", f"a={MODEL}"),
        ("--sibling", "a=/no/such/folder"),
        ("--profile", "no-such-sampler"),
        ("--traffic", "no-such-file.jsonl"),
    ],
)
def test_bad_arguments_are_refused(
    recorder: Recorder, traffic: Path, more: tuple[str, ...]
) -> None:
    done = run("--traffic", traffic, *more)
    assert isinstance(done.exception, ConfigurationError)


def test_a_calibration_is_needed(traffic: Path) -> None:
    done = run("--traffic", traffic)
    assert isinstance(done.exception, CalibrationError)


def test_every_disposition_has_words() -> None:
    assert set(MEANINGS) == set(Disposition)
