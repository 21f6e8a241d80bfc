"""Runs the recorder of `examples/recording` on a real engine, and reads what it wrote."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from audit.codec.traffic import read_traffic
from audit.examine import Examiner
from audit.records import Verdict
from tests.support.example_model import EXAMPLES, MODEL

RECORDER = EXAMPLES / "recording" / "record.py"

#: Generous: two servers start, and each may take a minute on a loaded machine.
RECORDING_TIMEOUT_S = 600.0

#: Decides prompts and seeds of the fresh traffic, which are in no bundled recording.
FRESH_WORD = "engines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The verdicts on some recorded files together."""

    verdicts: tuple[Verdict, ...]

    @property
    def match_share(self) -> float:
        """The share of all tokens that the reference would have drawn, too."""
        num_tokens = sum(verdict.num_tokens for verdict in self.verdicts)
        return sum(verdict.num_matches for verdict in self.verdicts) / num_tokens

    @property
    def precisions(self) -> set[str | None]:
        """The precisions that the references ran in."""
        return {verdict.precision for verdict in self.verdicts}


def record(python: Path, out: Path, names: tuple[str, ...], num_exchanges: int) -> None:
    """Record fresh traffic of some plans; the recorder's output is shown if it fails."""
    command = [str(python), str(RECORDER), "--model", str(MODEL), "--out", str(out)]
    command += ["--work", str(out / "work"), "--only", *names]
    command += ["--fresh", FRESH_WORD, "--num-exchanges", str(num_exchanges)]
    # the engine's Python shall find its own modules only
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RECORDING_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"


def examine(examiner: Examiner, *files: Path) -> Findings:
    """Return the verdicts on all exchanges of the files."""
    verdicts = []
    for line in read_traffic(list(files)):
        assert line.request is not None, f"{line.source}: {line.error}"
        verdicts.append(examiner(line.request).verdict)
    return Findings(verdicts=tuple(verdicts))


def prompts_of(path: Path) -> set[str]:
    """Return the prompts of a traffic file as its lines state them."""
    with path.open(encoding="utf-8") as file:
        requests = [json.loads(line)["request"] for line in file]
    return {json.dumps(request.get("prompt") or request["messages"]) for request in requests}
