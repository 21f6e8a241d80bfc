"""A served verdict log with two witnesses, a process each, and what its operator does to it."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from audit.client.log_client import LogClient
from audit.errors import EntryNotFound
from tests.integration.processes import (
    CALIBRATION,
    COMMAND,
    STOP_TIMEOUT_S,
    Finished,
    JsonLine,
    ServeProcess,
    environment,
)
from tests.integration.traffic import HONEST, lines
from tests.support.example_model import MODEL
from tests.unit.cli.command import run

ORIGIN = "log.test.example"
WITNESSES = ("w1", "w2")
WITNESS_TIMEOUT_S = 60.0


@contextmanager
def witness_process(folder: Path, name: str, log_key: str) -> Iterator[JsonLine]:
    """Yield what a running `witness serve` announces; key and state lie in the folder."""
    arguments = ["witness", "serve", "--json", "--name", f"{name}.witness.example"]
    arguments += ["--log", log_key, "--listen", "127.0.0.1:0"]
    arguments += ["--key", str(folder / f"{name}.pem"), "--state", str(folder / f"{name}.db")]
    with (folder / f"{name}.stderr").open("ab") as errors:
        process = subprocess.Popen(
            [COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(),
        )
    assert process.stdout is not None
    try:
        with process.stdout:
            line = process.stdout.readline()
            assert line, (folder / f"{name}.stderr").read_text()
            yield json.loads(line)
            process.terminate()
            assert process.wait(STOP_TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()


@dataclass(slots=True)
class World:
    """One log's folder: database, keys, anchor, settings, and what was kept of it."""

    folder: Path
    key: Path = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.folder / "verdict-key.pem"

    @property
    def database(self) -> Path:
        return self.folder / "audits.db"

    @property
    def settings(self) -> Path:
        return self.folder / "log.toml"

    @property
    def options(self) -> tuple[object, ...]:
        """What every command that works on the log itself is given."""
        where = ("--database", f"sqlite:///{self.database}", "--key", self.key)
        return (*where, "--log-settings", self.settings)

    def write_settings(self, *, witnessed: bool) -> None:
        """Write the log's settings, with or without its witnesses."""
        asked = 'witness_policy = "witnesses"\npublish_interval_s = 0.1\n' if witnessed else ""
        self.settings.write_text(f'origin = "{ORIGIN}"\nis_post_quantum = true\n{asked}')

    def write_policy(self, announced: dict[str, JsonLine]) -> None:
        """Ask all of the witnesses."""
        listed = [f"witness {n} {w['vkey']} {w['url']}\n" for n, w in announced.items()]
        text = f"{''.join(listed)}group both all {' '.join(announced)}\nquorum both\n"
        (self.folder / "witnesses").write_text(text)

    @contextmanager
    def served(self, *, stops: bool = True) -> Iterator[ServeProcess]:
        """Run the service; unless told otherwise, it must end well."""
        options = ("--calibration", CALIBRATION, "--log-settings", self.settings)
        with ServeProcess(self.folder, *options, "--key", self.key) as process:
            yield process
            assert not stops or process.terminate() == 0
            assert "Traceback" not in process.stderr, process.stderr

    def refused_start(self) -> Finished:
        """Start the service where that must fail."""
        where = ("--listen", "127.0.0.1:0", "--calibration", CALIBRATION)
        return run("serve", "--model", f"example={MODEL}", *where, *self.options)

    def submit(self, process: ServeProcess, numbers: range) -> list[str]:
        """Submit exchanges of the bundled traffic, and return their audits once they have ended."""
        done = self.try_submit(process, numbers)
        assert done.code == 0, done.stderr + done.stdout
        return [str(line["audit_id"]) for line in done.lines]

    def try_submit(self, process: ServeProcess, numbers: range) -> Finished:
        """Submit exchanges, whatever comes of it."""
        traffic = self.folder / "traffic.jsonl"
        traffic.write_text("".join(lines(HONEST)[numbers.start : numbers.stop]))
        return run("submit", "--json", "--address", process.address, "--traffic", traffic)

    def fsck(self) -> JsonLine:
        """Return what `upkeep fsck` says of a sound log."""
        done = run("upkeep", *self.options, "fsck", "--json")
        assert done.code == 0, done.stdout + done.stderr
        (line,) = done.lines
        return line

    def trust_root(self, name: str) -> Path:
        """Return the trust root as the operator writes it now."""
        out = self.folder / name
        done = run("keys", *self.options, "trust-root", "--out", out)
        assert done.code == 0, done.stderr
        return out

    def copy(self, folder: Path) -> "World":
        """Return a copy of everything, as another machine would have it; no service may run."""
        shutil.copytree(self.folder, folder)
        copied = World(folder)
        copied.key = folder / self.key.name
        return copied


def await_witnessed(process: ServeProcess) -> int:
    """Wait until both witnesses have cosigned the newest tree, and return its size."""
    deadline = time.monotonic() + WITNESS_TIMEOUT_S
    with LogClient(process.address) as client:
        while client.checkpoint(witnessed=False).size != (size := _witnessed_size(client)):
            assert time.monotonic() < deadline, process.stderr
            time.sleep(0.05)
    return size


def _witnessed_size(client: LogClient) -> int:
    try:
        return client.checkpoint(witnessed=True).size
    except EntryNotFound:
        return 0


def await_end(process: ServeProcess) -> int:
    """Wait until a service ends by itself, and return its exit code."""
    deadline = time.monotonic() + WITNESS_TIMEOUT_S
    while process.is_running:
        assert time.monotonic() < deadline, process.stderr
        time.sleep(0.05)
    return process.terminate()
