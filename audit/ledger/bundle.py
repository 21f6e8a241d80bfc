"""The evidence of one entry as a Sigstore bundle v0.3: what an auditor keeps and checks offline.

It holds the envelope, a hint at the key, the entry's proof and a checkpoint. Sigstore's own
verifiers read it; `audit.ledger.verify` checks more than they do, the witnesses above all.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from audit.errors import EntryNotFound
from audit.ledger.hashedrekord import API_VERSION, KIND
from audit.ledger.notes import NoteKey
from audit.ledger.verify import BUNDLE_TYPE
from audit.log_records import LogEntry


def build_bundle(
    envelope: bytes | None,
    key_id: str,
    entry: LogEntry,
    size: int,
    root: bytes,
    proof: Sequence[bytes],
    note: bytes,
    log_key: NoteKey,
) -> bytes:
    """Return the bundle of an entry as JSON bytes.

    `proof` is its inclusion proof in the tree of `size` and `root`, which `note` is the signed
    checkpoint of. Raises: EntryNotFound where the envelope was erased.
    """
    if envelope is None:
        raise EntryNotFound(
            f"the content of entry {entry.log_index} was erased: only its leaf can be shown"
        )
    log_entry: dict[str, Any] = {
        "logIndex": str(entry.log_index),
        "logId": {"keyId": _base64(log_id(log_key))},
        "kindVersion": {"kind": KIND, "version": API_VERSION},
        "inclusionProof": {
            "logIndex": str(entry.log_index),
            "rootHash": _base64(root),
            "treeSize": str(size),
            "hashes": [_base64(sibling) for sibling in proof],
            "checkpoint": {"envelope": note.decode("utf-8")},
        },
        "canonicalizedBody": _base64(entry.leaf_body),
    }
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_id}, "tlogEntries": [log_entry]},
        "dsseEnvelope": json.loads(envelope),
    }
    return json.dumps(bundle, separators=(",", ":")).encode("ascii")


def log_id(log_key: NoteKey) -> bytes:
    """Return a log's id, 32 bytes; the first four are the key hash of its signed notes."""
    named = log_key.name.encode("utf-8") + b"\n" + bytes([log_key.algorithm]) + log_key.public
    return hashlib.sha256(named).digest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
