"""The DSSE envelope with exactly one ECDSA P-256 signature.

The bytes to sign are laid out by securesystemslib, so that each verification compares two
implementations of DSSE. Signatures by a key file are deterministic (RFC 6979): the same payload and
key give the same bytes.
"""

import base64
import json
from typing import Any

from securesystemslib.dsse import Envelope

from audit.errors import VerificationError
from audit.ledger.signers import Signer
from audit.ledger.verify import PAYLOAD_TYPE, pae


def sign_payload(payload: bytes, signer: Signer, *, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the DSSE envelope of a payload as JSON bytes."""
    signature = signer.sign(Envelope(payload, payload_type, {}).pae())
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": payload_type,
        "signatures": [
            {"keyid": signer.key_id, "sig": base64.b64encode(signature).decode("ascii")},
        ],
    }
    return json.dumps(envelope, separators=(",", ":")).encode("ascii")


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
