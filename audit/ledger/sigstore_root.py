"""A trust root as Sigstore's `TrustedRoot` JSON, for verifiers that we did not write.

It names the log and the time-stamp authorities. Witnesses have no place in it, nor have the bounds
of verdict keys: those verifiers are given one public key by whoever runs them.
"""

import base64
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from audit.ledger.bundle import log_id
from audit.ledger.note_keys import Algorithm, NoteKey
from audit.ledger.trust_root import TrustRoot, certificates_of
from audit.ledger.witness_policy import parse_policy

MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

#: Sigstore bounds keys by time and wants a beginning; ours are bounded by index.
_BEGINNING = "1970-01-01T00:00:00Z"


def to_sigstore_trusted_root(root: TrustRoot) -> bytes:
    """Return the rendering as JSON bytes; logs' ML-DSA keys are left out, for it has none."""
    logs = [log.key for log in parse_policy(root.policy).logs]
    document = {
        "mediaType": MEDIA_TYPE,
        "tlogs": [_log(key) for key in logs if key.algorithm is Algorithm.ED25519],
        "certificateAuthorities": [],
        "ctlogs": [],
        "timestampAuthorities": [
            _authority(certificates_of(chain)) for chain in root.timestamp_authorities
        ],
    }
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def _log(key: NoteKey) -> dict[str, Any]:
    public_key = Ed25519PublicKey.from_public_bytes(key.public)
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        # Its host is what verifiers compare with the checkpoint's origin.
        "baseUrl": f"https://{key.name}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _base64(der),
            "keyDetails": "PKIX_ED25519",
            "validFor": {"start": _BEGINNING},
        },
        "logId": {"keyId": _base64(log_id(key))},
    }


def _authority(chain: list[x509.Certificate]) -> dict[str, Any]:
    subject = chain[-1].subject
    return {
        "subject": {
            "organization": _named(subject, NameOID.ORGANIZATION_NAME),
            "commonName": _named(subject, NameOID.COMMON_NAME),
        },
        "certChain": {
            "certificates": [{"rawBytes": _base64(c.public_bytes(Encoding.DER))} for c in chain]
        },
        "validFor": {"start": _BEGINNING},
    }


def _named(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = subject.get_attributes_for_oid(oid)
    return str(values[0].value) if values else ""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
