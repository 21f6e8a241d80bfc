"""The files of one commitment on both sides, and the commands that make and read them.

Commands run in this process, where an error that is not told but raised fails the test, or in
processes of their own.
"""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.cli import root
from tests.integration.processes import Finished, run

TOKENS = tuple(index * 7 % 1000 for index in range(500))


@dataclass(frozen=True)
class Desk:
    """The files of one request, on both sides."""

    folder: Path
    command: Callable[..., Finished]

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    @property
    def key(self) -> Path:
        return self.folder.parent / "provider.pem"

    def write(self, name: str, document: object) -> Path:
        text = document if isinstance(document, str) else json.dumps(document)
        self.file(name).write_text(text, encoding="utf-8")
        return self.file(name)

    def read(self, name: str) -> Any:
        return json.loads(self.file(name).read_text(encoding="utf-8"))

    def make(self, token_ids: tuple[int, ...]) -> Finished:
        chain = self.write("chain", a_chain(token_ids))
        return self.command(
            *("make", chain, "--key", self.key),
            *("--out", self.file("commitment"), "--secrets", self.file("secrets")),
        )

    def challenge(self, *more: object, name: str = "challenge") -> Finished:
        out = ("--out", self.file(name))
        return self.command("challenge", self.file("commitment"), *out, *more)

    def open(self, challenge: str = "challenge") -> Finished:
        files = ("--challenge", self.file(challenge), "--out", self.file("opening"))
        return self.command("open", "--secrets", self.file("secrets"), *files)

    def verify(self, *more: object) -> Finished:
        files = [self.file(name) for name in ("commitment", "challenge", "opening")]
        return self.command("verify", *files, "--provider-key", f"{self.key}.pub", *more)


def commitment(*arguments: object) -> Finished:
    """Run a command here."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = root.run(["tokens", "commitment", *map(str, arguments)])
    return Finished(code=code, stdout=out.getvalue(), stderr=err.getvalue())


def installed(*arguments: object) -> Finished:
    """Run a command in a process of its own."""
    return run("tokens", "commitment", *arguments)


def a_chain(token_ids: tuple[int, ...]) -> dict[str, object]:
    ids = {"requestId": "r-1", "provider": "host", "model": "example"}
    return ids | {"numTokens": len(token_ids), "tokenIds": list(token_ids)}


def opened(
    folder: Path,
    token_ids: tuple[int, ...],
    *rules: object,
    command: Callable[..., Finished] = commitment,
) -> Desk:
    """Return the files of a provider that commits and opens as it is asked to."""
    folder.mkdir()
    desk = Desk(folder, command)
    for done in (desk.make(token_ids), desk.challenge(*rules), desk.open()):
        assert done.code == 0, done.stderr
    return desk


def verdict(done: Finished) -> tuple[str, list[str]]:
    """Return outcome and violated identities."""
    (line,) = done.lines
    return line["outcome"], [one["identity"] for one in line["violations"]]


def copied(made: Desk, folder: Path) -> Desk:
    """Return copies of both sides' files that a test may spoil; the key stays where it is."""
    shutil.copy(f"{made.key}.pub", folder / "provider.pem.pub")
    desk = Desk(folder / "r-1", commitment)
    desk.folder.mkdir()
    for name in ("commitment", "challenge", "opening", "secrets"):
        shutil.copy2(made.file(name), desk.file(name))
    return desk
