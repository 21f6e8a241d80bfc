"""Holds a leaf against the envelope that it stands for.

Used where a whole log is checked; whether the leaf's key was the auditor's at that index is asked
elsewhere.
"""

import base64
import binascii
import hashlib
import json

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from audit.errors import VerificationError
from audit.ledger.hashedrekord import leaf_body as build_leaf
from audit.ledger.verify import PAYLOAD_TYPE, pae, verify_envelope


def check_leaf(leaf_body: bytes, envelope: bytes | None, entry_digest: str) -> None:
    """Pass where leaf, digest and envelope, if it is still there, say the same.

    Raises: VerificationError naming what contradicts what.
    """
    digest, signature, key_der = _parts(leaf_body)
    if f"sha256:{digest.hex()}" != entry_digest:
        raise VerificationError("its leaf names another digest than the entry")
    if envelope is None:
        return
    key_pem = _to_pem(key_der)
    verify_envelope(envelope, key_pem)
    outer = json.loads(envelope)
    signed = pae(PAYLOAD_TYPE, base64.b64decode(outer["payload"]))
    if hashlib.sha256(signed).digest() != digest:
        raise VerificationError("its envelope is not the one that its leaf names")
    stated = base64.b64decode(outer["signatures"][0]["sig"])
    if stated != signature or build_leaf(signed, signature, key_pem) != leaf_body:
        raise VerificationError("its leaf is not that of its envelope")


def _parts(leaf_body: bytes) -> tuple[bytes, bytes, bytes]:
    try:
        record = json.loads(leaf_body)["spec"]["hashedRekordV002"]
        found = (
            record["data"]["digest"],
            record["signature"]["content"],
            record["signature"]["verifier"]["publicKey"]["rawBytes"],
        )
        digest, signature, key = (base64.b64decode(text, validate=True) for text in found)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise VerificationError(f"its leaf is no hashedrekord entry ({error!r})") from error
    return digest, signature, key


def _to_pem(key_der: bytes) -> bytes:
    try:
        key = load_der_public_key(key_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise VerificationError(f"its leaf's key cannot be read ({error})") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise VerificationError("its leaf's key is no ECDSA key")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
