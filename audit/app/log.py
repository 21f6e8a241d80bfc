"""Opens the verdict log: database, keys, sequencer, witnesses."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import rfc8785

from audit.app.base import VERSION, new_id, to_text, utc_now
from audit.config import LogSettings, ReplaySettings, ServiceSettings
from audit.errors import ConfigurationError, LogForked, VerificationError
from audit.judge.calibration_file import load_calibration
from audit.judge.policy import load_policy
from audit.ledger.anchor import Anchor
from audit.ledger.entries import KeyAction, KeyEvent
from audit.ledger.issuer import CheckpointIssuer, LogIdentity
from audit.ledger.log_keys import open_identity
from audit.ledger.notes import parse_note
from audit.ledger.periodic import Periodic
from audit.ledger.publisher import Publisher, Stamp, Witness
from audit.ledger.recorder import Recorder
from audit.ledger.sequencer import Sequencer
from audit.ledger.signers import Signer, open_signer
from audit.ledger.timestamps import request_timestamp
from audit.ledger.verdict_log import Trust, VerdictLog
from audit.ledger.witness.gather import Gatherer, contradicting
from audit.ledger.witness_policy import parse_policy
from audit.log_records import Erasure, Receipt, StoredCheckpoint
from storage.places import sqlite_path
from storage.store import SqlAuditStore, open_store

#: How often content that has become too old is looked for.
RETENTION_INTERVAL_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLog:
    """An open log with its keys; nothing is appended before `running_log`."""

    settings: ServiceSettings
    store: SqlAuditStore
    identity: LogIdentity
    signer: Signer
    anchor: Anchor
    sequencer: Sequencer
    recorder: Recorder
    publisher: Publisher
    reader: VerdictLog

    def erase(self, tenant: str, before: str) -> tuple[int, Receipt | None]:
        """Erase a tenant's content recorded before a time; return how many entries, and where.

        The log must be running. Raises: StorageError, LogForked.
        """
        head = self.store.log.read_head()
        erasure = Erasure(tenant=tenant, before=before, below_index=head.size)
        num_entries = self.store.log.count_erasable(erasure)
        if not num_entries:
            return 0, None
        return num_entries, self.recorder.erase(erasure, num_entries)


@contextmanager
def open_log(settings: ServiceSettings, *, may_create: bool = True) -> Iterator[OpenLog]:
    """Open database and keys, making them at the first start; close the database on leaving.

    Without `may_create` what is missing is an error: a mistyped path must not begin another log.
    Raises: ConfigurationError, StorageError.
    """
    if not may_create:
        _require_present(settings)
    signer = _open_signer(settings)
    identity = open_identity(
        settings.log.origin, settings.log_key_path, is_post_quantum=settings.log.is_post_quantum
    )
    store = open_store(settings.database, clock=utc_now, new_id=new_id, tenant=settings.log.tenant)
    try:
        anchor = Anchor(settings.anchor_path, identity.signers[0].key)
        issuer = CheckpointIssuer(store.log, identity, anchor, utc_now)
        sequencer = Sequencer(store.log, issuer, utc_now)
        reader = VerdictLog(store.log, _trust(settings, identity))
        yield OpenLog(
            settings=settings,
            store=store,
            identity=identity,
            signer=signer,
            anchor=anchor,
            sequencer=sequencer,
            recorder=Recorder(
                sequencer=sequencer,
                signer=signer,
                clock=utc_now,
                version=VERSION,
                tenant=settings.log.tenant,
            ),
            publisher=_publisher(settings, store, reader),
            reader=reader,
        )
    finally:
        store.close()


@contextmanager
def running_log(
    log: OpenLog,
    replay: ReplaySettings | None = None,
    *,
    on_fork: Callable[[LogForked], None] | None = None,
) -> Iterator[OpenLog]:
    """Append to a log: start it, introduce its key, and log what the replay rests on.

    Yields the log with a recorder that names policy and calibration in each intent. `on_fork` is
    told, from another thread, where witnesses have seen another history.
    Raises: LogForked, ConfigurationError, StorageError.
    """

    def halt(fork: LogForked) -> None:
        log.sequencer.halt(fork)
        if on_fork is not None:
            on_fork(fork)

    log.sequencer.start()
    with ExitStack() as stack:
        stack.callback(log.sequencer.stop)
        _require_current_key(log)
        running = log if replay is None else _with_sources(log, replay)
        for task in _tasks(log, halt):
            task.start()
            stack.callback(task.stop)
        yield running


def _tasks(log: OpenLog, halt: Callable[[LogForked], None]) -> Iterator[Periodic]:
    """Yield what is to be done beside the appending, as far as the settings ask for it."""
    given = log.settings.log
    if given.witness_policy is not None or given.timestamp_authority is not None:
        yield Periodic(
            "log-publisher",
            log.publisher.turn,
            interval_s=given.publish_interval_s,
            on_fork=halt,
        )
    days = given.retention_days
    if days is not None:
        turn = partial(_erase_older, log, days)
        yield Periodic("log-retention", turn, interval_s=RETENTION_INTERVAL_S, on_fork=halt)


def _erase_older(log: OpenLog, days: int) -> None:
    before = datetime.now(UTC) - timedelta(days=days)
    # whole hours: the same turn of two processes is then the same erasure
    floor = before.replace(minute=0, second=0, microsecond=0)
    log.erase(log.settings.log.tenant, to_text(floor))


def _with_sources(log: OpenLog, replay: ReplaySettings) -> OpenLog:
    policy = load_policy(replay.policy)
    log.recorder.log_policy(policy.policy_id, rfc8785.dumps(policy.content()))
    calibration_id = None
    if replay.calibration is not None:
        calibration_id = load_calibration(replay.calibration).calibration_id
        log.recorder.log_calibration(calibration_id, replay.calibration.read_bytes())
    recorder = replace(log.recorder, policy_id=policy.policy_id, calibration_id=calibration_id)
    return replace(log, recorder=recorder)


def _require_current_key(log: OpenLog) -> None:
    """Introduce the first verdict key; refuse one that the log does not know as current.

    Raises: ConfigurationError.
    """
    keys, key_id = log.reader.verdict_keys(), log.signer.key_id
    if not keys:
        event = KeyEvent(
            action=KeyAction.INTRODUCED, key_id=key_id, public_key_pem=log.signer.public_key_pem
        )
        log.recorder.log_key_event(event)
    elif not any(key.key_id == key_id and key.below_index is None for key in keys):
        raise ConfigurationError(
            f"the log does not know the verdict key {key_id[:16]}... as current: name the key that "
            "it knows, or replace that one by `inference-audit keys rotate`"
        )


def _require_present(settings: ServiceSettings) -> None:
    require_database(settings.database)
    needed = {"the log's key": settings.log_key_path}
    if settings.log.signer is None:
        needed["the verdict key"] = settings.key_path
    for what, path in needed.items():
        if not path.exists():
            raise ConfigurationError(
                f"{what} {path} does not exist: name those that `serve` was started with"
            )


def require_database(url: str) -> None:
    """Raise ConfigurationError for a SQLite file that is not there; opening it would make one."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise ConfigurationError(
            f"the database {path} does not exist: name the one that `serve` was started with"
        )


def _open_signer(settings: ServiceSettings) -> Signer:
    log = settings.log
    if log.signer is None:
        return open_signer(str(settings.key_path))
    return open_verdict_signer(log.signer, log.signer_public_key, log.signer_secret)


def open_verdict_signer(location: str, public_key: Path | None, secret: Path | None) -> Signer:
    """Return the signer of a path or URI, with its public key and secret from files.

    Raises: ConfigurationError.
    """

    def tell(name: str) -> str:
        if secret is None:
            raise ConfigurationError(f"the signer asks for {name!r}: name a file that holds it")
        return _read_text(secret).strip()

    pem = None if public_key is None else _read(public_key)
    return open_signer(location, public_key_pem=pem, secrets_handler=tell)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _read_text(path: Path) -> str:
    try:
        return _read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text") from error


def _trust(settings: ServiceSettings, identity: LogIdentity) -> Trust:
    log = settings.log
    policy = None if log.witness_policy is None else _read_text(log.witness_policy)
    chains = () if log.timestamp_chain is None else (_read_text(log.timestamp_chain),)
    trust = Trust(
        log_key=identity.signers[0].key, witness_policy=policy, timestamp_authorities=chains
    )
    try:
        parse_policy(trust.policy_text())
    except VerificationError as error:
        raise ConfigurationError(
            f"the witness policy {log.witness_policy} cannot be used: {error}. It has lines for "
            "witnesses, groups and the quorum; the log's own line is added"
        ) from error
    return trust


def _publisher(
    settings: ServiceSettings,
    store: SqlAuditStore,
    log: VerdictLog,
) -> Publisher:
    given = settings.log
    witness = None
    if given.witness_policy is not None:
        witness = _witness(store, log)
    return Publisher(
        store.log,
        utc_now,
        witness=witness,
        stamp=_stamper(given, log.trust),
        authority=given.timestamp_authority or "",
        stamp_interval_s=given.timestamp_interval_s,
    )


def _witness(store: SqlAuditStore, log: VerdictLog) -> Witness:
    policy = parse_policy(log.trust.policy_text())
    gatherer = Gatherer(policy=policy, prove=log.consistency)

    def witness(checkpoint: StoredCheckpoint) -> tuple[bytes, bool]:
        gathered = gatherer.gather(checkpoint.note)
        against = contradicting(gathered, store.log.read_head().size)
        others = {one.name for one in policy.witnesses} - against.keys()
        # One witness alone may err or lie; where too many contradict for any quorum, it is we.
        if against and not policy.is_met(others):
            raise LogForked(
                "witnesses have seen another history of this log: "
                + "; ".join(f"{name}: {error}" for name, error in sorted(against.items()))
                + ". It may have been restored from an older copy: stop, and restore the newest one"
            )
        return gathered.note, gathered.is_met

    return witness


def _stamper(given: LogSettings, trust: Trust) -> Stamp | None:
    authority = given.timestamp_authority
    if authority is None:
        return None
    if not trust.timestamp_authorities:
        raise ConfigurationError(
            "a time-stamp authority needs its certificates, or nobody can check its stamps: name "
            "the PEM file of its chain as well"
        )

    def stamp(note: bytes) -> bytes:
        text = parse_note(note).text
        return request_timestamp(text, authority, trust.timestamp_authorities)

    return stamp
