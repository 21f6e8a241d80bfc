"""Check a signed verdict: the whole procedure, for a reader who trusts nobody.

Standard library and `cryptography` only; no network, no database, no clock. The steps, in order; a
failure at any of them is a VerificationError that names it:

1. The envelope is bounded in size and strict JSON.
2. It has a payload, a payload type and exactly one signature, in strict base64.
3. The payload type is that of in-toto.
4. The public key is an ECDSA P-256 key.
5. The signature is that key's, over the DSSE pre-authentication encoding of type and payload.
6. The payload - the very bytes that step 5 verified - is strict JSON.
7. It is an in-toto Statement v1 about at least one subject.
8. Its predicate type is ours.
9. Its verdict is one of the known words.

It does not say whether the verdict is good: ask the returned statement for PASSED.
"""

import base64
import binascii
import json
import math
from typing import NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from audit.errors import VerificationError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://inference-audit.dev/inference-verdict/v0.1"
VERDICTS = ("PASSED", "FAILED", "INCONCLUSIVE")

#: No verdict comes near this; a larger file is refused before it is parsed.
MAX_ENVELOPE_BYTES = 1_048_576

JsonObject = dict[str, object]


def verify_envelope(envelope: bytes, public_key_pem: bytes) -> JsonObject:
    """Return the verified in-toto statement of a DSSE envelope.

    Raises: VerificationError naming the failed step (see the module).
    """
    # 1. A bounded, strict JSON document.
    if len(envelope) > MAX_ENVELOPE_BYTES:
        _fail(1, f"the envelope is larger than {MAX_ENVELOPE_BYTES} bytes")
    outer = _parse_object(envelope, step=1, what="the envelope")

    # 2. Payload, payload type and exactly one signature. DSSE: other members are ignored.
    payload = _decode_base64(outer.get("payload"), "payload")
    payload_type = outer.get("payloadType")
    signature, stated_key_id = _only_signature(outer.get("signatures"))

    # 3. The payload type, before anything looks into the payload.
    if payload_type != PAYLOAD_TYPE:
        _fail(3, f"the payload type is {payload_type!r}, not {PAYLOAD_TYPE!r}")

    # 4. The key.
    public_key = _load_p256(public_key_pem)

    # 5. The signature. The stated key id is a hint that anyone can write: it decides nothing.
    if not is_signed(public_key, signature, pae(PAYLOAD_TYPE, payload)):
        hint = f" (the envelope names the key {stated_key_id!r})" if stated_key_id else ""
        _fail(5, f"the signature is not this key's over this payload{hint}")

    # 6. Parse what was verified, never the envelope again.
    statement = _parse_object(payload, step=6, what="the payload")

    # 7. The statement and its subject.
    if statement.get("_type") != STATEMENT_TYPE:
        _fail(7, f"the statement type is {statement.get('_type')!r}, not {STATEMENT_TYPE!r}")
    if not _has_subject(statement):
        _fail(7, "the statement names no subject with a SHA-256 digest")

    # 8. The predicate type.
    predicate_type = statement.get("predicateType")
    if predicate_type != PREDICATE_TYPE:
        _fail(8, f"the predicate type is {predicate_type!r}, not {PREDICATE_TYPE!r}")

    # 9. The verdict.
    predicate = statement.get("predicate")
    verdict = predicate.get("verdict") if isinstance(predicate, dict) else None
    if verdict not in VERDICTS:
        _fail(9, f"the verdict is {verdict!r}, none of {', '.join(VERDICTS)}")
    return statement


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: what is signed. Its lengths count bytes."""
    type_bytes = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(type_bytes), type_bytes, len(payload), payload)


def is_signed(public_key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """Return whether a DER signature is the key's, with ECDSA over SHA-256 of the message."""
    try:
        public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _fail(step: int, problem: str) -> NoReturn:
    raise VerificationError(f"step {step}: {problem}; do not rely on this verdict")


def _parse_object(text: bytes, *, step: int, what: str) -> JsonObject:
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_number,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        _fail(step, f"{what} is not strict JSON ({error})")
    if not isinstance(value, dict):
        _fail(step, f"{what} is not a JSON object")
    return value


def _without_duplicates(pairs: list[tuple[str, object]]) -> JsonObject:
    # Readers differ in which of two equal names they take: such a document has no single meaning.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_number(text)
    return number


def _decode_base64(text: object, name: str) -> bytes:
    if not isinstance(text, str) or not text:
        _fail(2, f"the {name} is missing")
    # DSSE asks verifiers to take the standard and the URL-safe alphabet; a mixture is neither.
    url_safe = "-" in text or "_" in text
    try:
        decoded = base64.b64decode(text, altchars=b"-_" if url_safe else None, validate=True)
    except (binascii.Error, ValueError) as error:
        _fail(2, f"the {name} is not base64 ({error})")
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    # Python ignores stray bits and text after the padding: only what encodes back was strict.
    if encode(decoded).decode("ascii") != text:
        _fail(2, f"the {name} is not canonical base64")
    return decoded


def _only_signature(signatures: object) -> tuple[bytes, str]:
    if not isinstance(signatures, list) or len(signatures) != 1:
        _fail(2, "there is not exactly one signature")
    entry = signatures[0]
    if not isinstance(entry, dict):
        _fail(2, "the signature is not a JSON object")
    key_id = entry.get("keyid", "")
    if not isinstance(key_id, str):
        _fail(2, "the key id is not a string")
    return _decode_base64(entry.get("sig"), "signature"), key_id


def _load_p256(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        _fail(4, f"the public key is not a PEM public key ({error})")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        _fail(4, "the public key is not an ECDSA P-256 key")
    return key


def _has_subject(statement: JsonObject) -> bool:
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or not subjects:
        return False
    digests = [entry.get("digest") for entry in subjects if isinstance(entry, dict)]
    return len(digests) == len(subjects) and all(
        isinstance(digest, dict) and isinstance(digest.get("sha256"), str) for digest in digests
    )
