"""Sign a verdict: Statement, canonical JSON, DSSE envelope with exactly one ECDSA P-256 signature.

The ledger's half of the worker's loop, after the judge and before storage. The bytes to sign are
laid out by securesystemslib, so that each verification compares two implementations of DSSE.
Signatures are deterministic (RFC 6979): the same statement and key give the same bytes.
"""

import base64
import json

import rfc8785
from securesystemslib.dsse import Envelope

from audit.ledger.keys import SigningKey
from audit.ledger.statement import build_statement
from audit.ledger.verify import PAYLOAD_TYPE
from audit.ports import Clock
from audit.records import Job, SignedVerdict, Verdict


class DsseSigner:
    """Signs verdicts with one key; implements the `VerdictSigner` port."""

    def __init__(self, key: SigningKey, clock: Clock, version: str) -> None:
        self._key = key
        self._clock = clock
        self._version = version

    def __call__(self, job: Job, verdict: Verdict) -> SignedVerdict:
        """Return the verdict in its signed envelope.

        Raises: InvalidRequest for a malformed request_digest; rfc8785.CanonicalizationError where a
        number is not finite or a text is not valid Unicode, which only a defect of ours can cause.
        """
        statement = build_statement(
            job, verdict, verified_at=self._clock(), verifier_version=self._version
        )
        envelope = sign_payload(rfc8785.dumps(statement), self._key)
        return SignedVerdict(verdict=verdict, envelope=envelope, key_id=self._key.key_id)


def sign_payload(payload: bytes, key: SigningKey, *, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the DSSE envelope of a payload as JSON bytes."""
    signature = key.sign(Envelope(payload, payload_type, {}).pae())
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": payload_type,
        "signatures": [
            {"keyid": key.key_id, "sig": base64.b64encode(signature).decode("ascii")},
        ],
    }
    return json.dumps(envelope, separators=(",", ":")).encode("ascii")
