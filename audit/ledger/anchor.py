"""The anchor: a copy of the newest checkpoint outside the database.

A database that is restored from yesterday's backup has forgotten entries whose receipts are in
other hands; going on from there would sign a second history. So the newest checkpoint is also kept
in a file - on another disk, where there is one - and the log goes on only from a database that has
at least what the anchor names.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from audit.errors import ConfigurationError, LogForked, StorageError, VerificationError
from audit.ledger.checkpoints import Checkpoint, parse_checkpoint_body
from audit.ledger.notes import NoteKey, open_note


@dataclass(frozen=True, slots=True)
class Anchor:
    """A file that holds the newest published checkpoint of one log."""

    path: Path
    log_key: NoteKey

    def read(self) -> Checkpoint | None:
        """Return the checkpoint; None where the file does not exist.

        Raises: LogForked where it is not a checkpoint of this log; ConfigurationError.
        """
        try:
            note = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(_unusable(self.path, error)) from error
        try:
            return _opened(note, self.log_key)
        except VerificationError as error:
            raise LogForked(
                f"the anchor {self.path} is no checkpoint of this log ({error}): name the log's "
                "own anchor file, or the key and origin that it was made with"
            ) from error

    def advance(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Replace the anchor durably by a larger checkpoint; a smaller one changes nothing.

        Raises: LogForked where it holds another tree of the same size; StorageError.
        """
        try:
            with self._locked():
                held = self.read()
                if held is not None and held.size == checkpoint.size:
                    require_same_root(held, checkpoint.root, f"the anchor {self.path}")
                if held is None or held.size < checkpoint.size:
                    self._write(note)
        except OSError as error:
            raise StorageError(_unusable(self.path, error)) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Two processes on one log share the file; each must compare with what the other wrote.
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, note: bytes) -> None:
        temporary = self.path.with_name(self.path.name + ".new")
        with temporary.open("wb") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@lru_cache(maxsize=8)
def _opened(note: bytes, log_key: NoteKey) -> Checkpoint:
    """Return a note's checkpoint; it is read before every batch, and seldom another one."""
    return parse_checkpoint_body(open_note(note, [log_key]).text)


def require_same_root(held: Checkpoint, root: bytes, where: str) -> None:
    """Pass where a checkpoint names this root. Raises: LogForked."""
    if held.root != root:
        raise LogForked(
            f"{where} names another tree of size {held.size} than the database: one of the two was "
            "replaced. Do not go on; keep both, and restore the one that the receipts agree with"
        )


def _unusable(path: Path, error: OSError) -> str:
    return (
        f"the anchor file {path} cannot be used ({error.strerror}): choose a folder that this user "
        "can write, best on another disk than the database"
    )
