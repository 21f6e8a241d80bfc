"""Which key events count though their signer does not count at their index any more.

A key event is judged by how things stood when it was logged: see `audit.ledger.key_history`. What a
key introduced or retired stays so when the key is revoked afterwards, below that index. Whether an
event was taken for good is seen from the trust root, which holds what became of it.
"""

from audit.ledger.entries import KeyAction
from audit.reports import members as m
from audit.reports.keyring import KeyRing
from audit.reports.opening import Opened


class KeyEvents:
    """Follows the key events of a window, in the order of the log."""

    def __init__(self, keys: KeyRing) -> None:
        """Judge the events by the keys of a trust root."""
        self._keys = keys
        self._ended: set[str] = set()

    def counts(self, opened: Opened) -> bool:
        """Return whether an event counts that its signer's bounds leave out.

        Raises: VerificationError where it is malformed.
        """
        signer, subject = self._keys.find(opened.key_id), self._keys.get(_subject(opened))
        # Once retired or revoked, a key says nothing more: whoever has it then is not the verifier.
        if subject is None or opened.key_id in self._ended or opened.log_index < signer.from_index:
            return False
        if _action(opened) is KeyAction.INTRODUCED:
            return subject.from_index == opened.log_index
        return subject.below_index is not None and subject.below_index <= opened.log_index + 1

    def follow(self, opened: Opened) -> None:
        """Take an event that counts. Raises: VerificationError where it is malformed."""
        if _action(opened) is not KeyAction.INTRODUCED:
            self._ended.add(_subject(opened))


def _subject(opened: Opened) -> str:
    return m.text(m.child(opened.predicate, "key"), "id")


def _action(opened: Opened) -> KeyAction | None:
    stated = m.text(opened.predicate, "action").lower()
    return KeyAction(stated) if stated in {action.value for action in KeyAction} else None
