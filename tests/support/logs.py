"""A verdict log for tests: real keys, anchor, sequencer and recorder over any store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger.anchor import Anchor
from audit.ledger.issuer import CheckpointIssuer, LogIdentity
from audit.ledger.keys import SigningKey
from audit.ledger.notes import Ed25519NoteSigner
from audit.ledger.reader import LogReader
from audit.ledger.recorder import Recorder
from audit.ledger.sequencer import Sequencer
from audit.ports import Clock, LogStore

ORIGIN = "log.test.example"

#: Long enough for a loaded machine; a test that waits so long has failed.
RECEIPT_TIMEOUT_S = 60.0


@cache
def verdict_key() -> SigningKey:
    """Return a fixed P-256 key."""
    return SigningKey.of(ec.derive_private_key(0x5EED, ec.SECP256R1()))


@cache
def log_signer(origin: str = ORIGIN) -> Ed25519NoteSigner:
    """Return a fixed log key."""
    return Ed25519NoteSigner(origin, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """An open log; `start` and `stop` are its sequencer's."""

    store: LogStore
    anchor: Anchor
    issuer: CheckpointIssuer
    sequencer: Sequencer
    recorder: Recorder

    @property
    def reader(self) -> LogReader:
        return LogReader(self.store)


def build_log(store: LogStore, folder: Path, clock: Clock, *, tenant: str = "default") -> Log:
    """Return a log that is not started; its anchor lies in the folder."""
    identity = LogIdentity(origin=ORIGIN, signers=(log_signer(),))
    anchor = Anchor(folder / "log-anchor", log_signer().key)
    issuer = CheckpointIssuer(store, identity, anchor, clock)
    sequencer = Sequencer(store, issuer, clock)
    recorder = Recorder(
        sequencer=sequencer,
        signer=verdict_key(),
        clock=clock,
        version="0.0.0-test",
        tenant=tenant,
        timeout_s=RECEIPT_TIMEOUT_S,
    )
    return Log(store=store, anchor=anchor, issuer=issuer, sequencer=sequencer, recorder=recorder)


@contextmanager
def running(store: LogStore, folder: Path, clock: Clock) -> Iterator[Log]:
    """Yield a started log."""
    log = build_log(store, folder, clock)
    log.sequencer.start()
    try:
        yield log
    finally:
        log.sequencer.stop()
