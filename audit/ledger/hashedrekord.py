"""The leaf of the log: a Rekor v2 `hashedrekord` 0.0.2 entry in canonical JSON.

Verifiers of Sigstore do not trust a stored leaf; they build it again from the envelope and hash
that. So its bytes are fixed by digest, signature and public key, and by nothing else.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Any

import rfc8785
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_public_key

API_VERSION = "0.0.2"
KIND = "hashedrekord"
KEY_DETAILS = "PKIX_ECDSA_P256_SHA_256"


def leaf_body(signed: bytes, signature: bytes, public_key_pem: bytes) -> bytes:
    """Return the leaf of a signature.

    `signed` are the bytes that were signed, for an envelope its DSSE pre-authentication encoding;
    `signature` is DER. The entry names them by SHA-256 only.
    """
    digest = _base64(hashlib.sha256(signed).digest())
    return _frame(public_key_pem) % (digest.encode("ascii"), _base64(signature).encode("ascii"))


@lru_cache(maxsize=16)
def _frame(public_key_pem: bytes) -> bytes:
    """Return the leaves of a key with a gap each for digest and signature.

    Base64 looks the same in canonical JSON, so the rest of a leaf is laid out once per key.
    """
    public_key = load_pem_public_key(public_key_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record: Any = {
        "data": {"algorithm": "SHA2_256", "digest": "%b"},
        "signature": {
            "content": "%b",
            "verifier": {
                "keyDetails": KEY_DETAILS,
                "publicKey": {"rawBytes": _base64(public_key)},
            },
        },
    }
    return rfc8785.dumps(
        {"apiVersion": API_VERSION, "kind": KIND, "spec": {"hashedRekordV002": record}}
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
