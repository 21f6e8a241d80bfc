"""Runs the installed command in processes of its own, and keeps what they wrote."""

import json
import os
import queue
import subprocess
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.example_model import EXAMPLES, MODEL

COMMAND = str(Path(sysconfig.get_path("scripts")) / "inference-audit")
CALIBRATION = EXAMPLES / "calibration" / "example.json"

#: Generous: a loaded machine may take long to import torch.
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
RUN_TIMEOUT_S = 240.0

JsonLine = dict[str, Any]


def environment() -> dict[str, str]:
    """Return this process's environment without settings of ours, so that defaults are tested."""
    return {k: v for k, v in os.environ.items() if not k.startswith("INFERENCE_AUDIT_")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[JsonLine]:
        """Stdout as JSON objects, one a line; anything else there is a failure."""
        found = [json.loads(line) for line in self.stdout.splitlines()]
        assert all(isinstance(line, dict) for line in found)
        return found


def run(*arguments: object, cwd: Path | None = None) -> Finished:
    """Run one command to its end; a traceback is a failure whatever it was asked."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        cwd=cwd,
        env=environment(),
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Finished(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


class ServeProcess:
    """`inference-audit serve --json` on a free port, with database and key in `folder`."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder = folder
        self.database = folder / "audits.db"
        self.key = folder / "verdict-key.pem"
        self.public_key = folder / "verdict-key.pem.pub"
        self._stderr = (folder / "serve.stderr").open("ab")
        arguments = ["serve", "--json", "--listen", "127.0.0.1:0", "--key", self.key]
        arguments += ["--database", f"sqlite:///{self.database}", "--model", f"example={MODEL}"]
        self._process = subprocess.Popen(
            [COMMAND, *map(str, (*arguments, *options))],
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=folder,
            env=environment(),
        )
        self._written: list[str] = []
        self._first: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.announcement = self._announced()
        self.address = str(self.announcement["address"])

    @property
    def stdout(self) -> str:
        """All it has written to stdout."""
        return "".join(self._written)

    @property
    def stderr(self) -> str:
        """All that it and its predecessors in this folder have written to stderr."""
        return (self.folder / "serve.stderr").read_text(encoding="utf-8")

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self._process.terminate()
        return self._ended()

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._process.kill()
        self._ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running:
            self.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._written.append(line)
                self._first.put(line)
        self._first.put("")

    def _announced(self) -> JsonLine:
        try:
            line = self._first.get(timeout=START_TIMEOUT_S)
        except queue.Empty:
            line = ""
        if not line:
            self.kill()
            raise AssertionError(f"serve did not start: {self.stderr}")
        announcement = json.loads(line)
        assert isinstance(announcement, dict)
        return announcement

    def _ended(self) -> int:
        code = self._process.wait(STOP_TIMEOUT_S)
        self._reader.join(STOP_TIMEOUT_S)
        self._stderr.close()
        return code
