"""What an operator does to a log: check it, adopt it after a loss, erase content, change keys."""

from dataclasses import dataclass

from audit.app.log import open_log, running_log
from audit.config import ServiceSettings
from audit.errors import ConfigurationError, LogForked
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.entries import KeyAction, KeyEvent
from audit.ledger.fsck import Checked, check_log
from audit.ledger.notes import sign_note
from audit.ledger.signers import Signer
from audit.log_records import Receipt


def check(settings: ServiceSettings) -> Checked:
    """Return what contradicts itself in the log. Raises: ConfigurationError, StorageError."""
    with open_log(settings, may_create=False) as log:
        return check_log(log.store.log, log.identity.signers[0].key, log.anchor.read())


def adopt(settings: ServiceSettings) -> int:
    """Write the anchor anew from a sound database and return the log's size.

    For an operator whose anchor was lost and who knows that the database is the newest. An anchor
    that is there is never replaced. Raises: LogForked, ConfigurationError, StorageError.
    """
    with open_log(settings, may_create=False) as log:
        if log.anchor.read() is not None:
            raise ConfigurationError(
                f"{log.anchor.path} is there: an anchor is only made anew where it was lost. If "
                "the log is refused with it, the database is not the one that it was made for"
            )
        found = check_log(log.store.log, log.identity.signers[0].key)
        if found.problems:
            raise LogForked(
                f"the log contradicts itself in {len(found.problems)} places, first: "
                f"{found.problems[0]}. See `inference-audit upkeep fsck`, and restore the database"
            )
        head = log.store.log.read_head()
        checkpoint = Checkpoint(origin=log.identity.origin, size=head.size, root=head.root)
        note = sign_note(format_checkpoint_body(checkpoint), log.identity.signers)
        log.anchor.advance(checkpoint, note)
        return head.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure did; no receipt where there was nothing to erase."""

    num_entries: int
    receipt: Receipt | None


def erase(settings: ServiceSettings, *, tenant: str, before: str) -> Erased:
    """Erase the content of a tenant's entries that were recorded before a time (RFC 3339 UTC).

    The erasure is an entry itself; leaves, tree and proofs stay whole.
    Raises: LogForked, ConfigurationError, StorageError.
    """
    with open_log(settings, may_create=False) as log, running_log(log):
        num_entries, receipt = log.erase(tenant, before)
        return Erased(num_entries=num_entries, receipt=receipt)


def rotate(settings: ServiceSettings, new: Signer) -> tuple[Receipt, Receipt]:
    """Introduce a new verdict key under the old one, then retire the old one under itself.

    From then on the service must be started with the new key. Audits that run meanwhile under the
    old key are refused by verifiers, so stop the service first.
    Raises: ConfigurationError, StorageError, LogForked.
    """
    with open_log(settings, may_create=False) as log, running_log(log):
        introduced = log.recorder.log_key_event(
            KeyEvent(
                action=KeyAction.INTRODUCED, key_id=new.key_id, public_key_pem=new.public_key_pem
            )
        )
        retired = log.recorder.log_key_event(
            KeyEvent(
                action=KeyAction.RETIRED,
                key_id=log.signer.key_id,
                public_key_pem=log.signer.public_key_pem,
                reason="rotation",
            )
        )
        return introduced, retired


def revoke(
    settings: ServiceSettings,
    *,
    key_id: str,
    below_index: int | None,
    compromised_at: str | None,
    reason: str | None,
) -> Receipt:
    """Log that a verdict key counts below an index only, signed by the current key.

    Raises: ConfigurationError for an unknown key or the current one, StorageError, LogForked.
    """
    with open_log(settings, may_create=False) as log, running_log(log):
        known = {key.key_id: key for key in log.reader.verdict_keys()}
        if key_id not in known:
            raise ConfigurationError(
                f"the log knows no verdict key {key_id!r}: see `inference-audit keys show`"
            )
        if key_id == log.signer.key_id:
            raise ConfigurationError(
                "this is the key in use: rotate first, then revoke the old one under the new one"
            )
        return log.recorder.log_key_event(
            KeyEvent(
                action=KeyAction.REVOKED,
                key_id=key_id,
                public_key_pem=known[key_id].public_key_pem.encode("ascii"),
                below_index=below_index,
                compromised_at=compromised_at,
                reason=reason,
            )
        )
