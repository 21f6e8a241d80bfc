"""The DSSE envelope with exactly one ECDSA P-256 signature.

The bytes to sign are laid out by securesystemslib, so that each verification compares two
implementations of DSSE. Signatures by a key file are deterministic (RFC 6979): the same payload and
key give the same bytes.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope

from audit.errors import VerificationError
from audit.ledger.signers import Signer
from audit.ledger.verify import PAYLOAD_TYPE, pae


@dataclass(frozen=True, slots=True)
class Signed:
    """A payload's envelope, with the parts that a leaf is made of."""

    envelope: bytes
    signed: bytes
    """The pre-authentication encoding."""
    signature: bytes
    """DER."""


def sign(payload: bytes, signer: Signer, *, payload_type: str = PAYLOAD_TYPE) -> Signed:
    """Return the DSSE envelope of a payload as JSON bytes, and what was signed."""
    signed = Envelope(payload, payload_type, {}).pae()
    signature = signer.sign(signed)
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": payload_type,
        "signatures": [
            {"keyid": signer.key_id, "sig": base64.b64encode(signature).decode("ascii")},
        ],
    }
    content = json.dumps(envelope, separators=(",", ":")).encode("ascii")
    return Signed(envelope=content, signed=signed, signature=signature)


def sign_payload(payload: bytes, signer: Signer, *, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the DSSE envelope of a payload as JSON bytes."""
    return sign(payload, signer, payload_type=payload_type).envelope


def signed_parts(file: bytes) -> tuple[bytes, bytes]:
    """Return what was signed (the PAE) and the DER signature of an envelope or bundle.

    Nothing is verified: this is what one hands to another tool. Raises: VerificationError where the
    file holds no envelope.
    """
    try:
        document: Any = json.loads(file)
        envelope = document.get("dsseEnvelope", document)
        payload = base64.b64decode(envelope["payload"], validate=True)
        (signature,) = envelope["signatures"]
        raw = base64.b64decode(signature["sig"], validate=True)
        return pae(envelope["payloadType"], payload), raw
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError(
            f"this is neither a signed verdict nor a bundle of one ({error}): name the file that "
            "the service gave out"
        ) from error
