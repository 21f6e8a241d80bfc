"""sigstore-python's Merkle and checkpoint code: inclusion and the log's signature.

It does not look at witnesses, at the tree size in the checkpoint (it takes the proof's), and, in
these two parts, at the envelope. Its `Verifier` as a whole asks for a Fulcio certificate, which
our keys have not.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from audit.ledger.sigstore_root import to_sigstore_trusted_root
from tests.outside import changes
from tests.unit.ledger.small_log import ORIGIN, SIZE, TRUST_ROOT

pytest.importorskip(
    "sigstore", reason="sigstore is not installed: pip install 'inference-audit[verifiers]'"
)

from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import verify_checkpoint
from sigstore._internal.trust import Keyring, RekorKeyring
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry
from sigstore_models.rekor.v1 import TransparencyLogEntry as InnerEntry
from sigstore_models.trustroot.v1 import TrustedRoot


def _keyring() -> RekorKeyring:
    root = TrustedRoot.from_json(to_sigstore_trusted_root(TRUST_ROOT))
    return RekorKeyring(Keyring([log.public_key for log in root.tlogs]))


def _check(bundle: Any) -> None:
    inner = InnerEntry.from_json(json.dumps(changes.entry(bundle)))
    found = TransparencyLogEntry(inner)
    verify_merkle_inclusion(found)
    verify_checkpoint(_keyring(), found)


def test_a_fresh_verdict_is_accepted() -> None:
    _check(changes.fresh())


@pytest.mark.parametrize(
    "changed",
    [
        changes.with_leaf_changed,
        changes.with_proof_changed,
        changes.with_index_changed,
        changes.with_checkpoint_changed,
    ],
)
def test_any_changed_byte_is_refused(changed: Callable[[], Iterator[Any]]) -> None:
    num_refused = 0
    for bundle in changed():
        with pytest.raises((VerificationError, ValueError)):
            _check(bundle)
        num_refused += 1
    assert num_refused > 50


def test_the_trusted_root_is_read_as_sigstores() -> None:
    root = TrustedRoot.from_json(to_sigstore_trusted_root(TRUST_ROOT))
    assert [log.base_url for log in root.tlogs] == [f"https://{ORIGIN}"]
    assert SIZE == 300
