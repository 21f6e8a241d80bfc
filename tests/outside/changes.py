"""Bundles with one byte changed, part by part.

A byte is changed in what the part encodes, never in the JSON around it or in base64's unused bits:
some verifiers read those leniently, and that is no property of ours.
"""

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

from tests.unit.ledger.small_log import LOG_SIGNER, ORIGIN, SIZE, bundle


def fresh() -> Any:
    """Return the unchanged bundle as a new object."""
    return json.loads(bundle())


def with_payload_changed() -> Iterator[Any]:
    """Yield a bundle for each byte of the payload."""
    for text in _changed_bytes(fresh()["dsseEnvelope"]["payload"]):
        changed = fresh()
        changed["dsseEnvelope"]["payload"] = text
        yield changed


def with_signature_changed() -> Iterator[Any]:
    """Yield a bundle for each byte of the signature."""
    for text in _changed_bytes(fresh()["dsseEnvelope"]["signatures"][0]["sig"]):
        changed = fresh()
        changed["dsseEnvelope"]["signatures"][0]["sig"] = text
        yield changed


def with_leaf_changed() -> Iterator[Any]:
    """Yield a bundle for each byte of the leaf."""
    for text in _changed_bytes(entry(fresh())["canonicalizedBody"]):
        changed = fresh()
        entry(changed)["canonicalizedBody"] = text
        yield changed


def with_proof_changed() -> Iterator[Any]:
    """Yield a bundle for each byte of each hash of the inclusion proof."""
    hashes = proof(fresh())["hashes"]
    for number, encoded in enumerate(hashes):
        for text in _changed_bytes(encoded):
            changed = fresh()
            proof(changed)["hashes"][number] = text
            yield changed


def with_index_changed() -> Iterator[Any]:
    """Yield a bundle for each other index of the tree, named by entry and proof alike."""
    for index in range(SIZE):
        changed = fresh()
        if entry(changed)["logIndex"] != str(index):
            entry(changed)["logIndex"] = proof(changed)["logIndex"] = str(index)
            yield changed


def with_checkpoint_changed() -> Iterator[Any]:
    """Yield a bundle for each byte of the checkpoint's text and of the log's signature."""
    note: str = proof(fresh())["checkpoint"]["envelope"]
    body, _, lines = note.partition("\n\n")
    for position in range(len(body)):
        flipped = chr(ord(body[position]) ^ 1)
        yield _with_note(f"{body[:position]}{flipped}{body[position + 1 :]}\n\n{lines}")
    prefix = f"\u2014 {ORIGIN} "
    line = lines.split("\n")[0].removeprefix(prefix)
    assert base64.b64decode(line).startswith(LOG_SIGNER.key.key_hash)
    for text in _changed_bytes(line):
        yield _with_note(note.replace(prefix + line, prefix + text))


def entry(document: Any) -> Any:
    """Return the log entry of a bundle."""
    return document["verificationMaterial"]["tlogEntries"][0]


def proof(document: Any) -> Any:
    """Return the inclusion proof of a bundle."""
    return entry(document)["inclusionProof"]


def _with_note(note: str) -> Any:
    changed = copy.deepcopy(fresh())
    proof(changed)["checkpoint"]["envelope"] = note
    return changed


def _changed_bytes(encoded: str) -> Iterator[str]:
    raw = base64.b64decode(encoded)
    for position in range(len(raw)):
        changed = bytes([*raw[:position], raw[position] ^ 1, *raw[position + 1 :]])
        yield base64.b64encode(changed).decode("ascii")
