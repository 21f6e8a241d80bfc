"""Damaged envelopes, one per rejection of the verifier, each with the step that must refuse it.

Files of `tests/assets/ledger` hold the same bytes; `tests.golden.ledger.regenerate` writes them.
"""

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from audit.ledger.envelope import sign_payload
from tests.golden.ledger.examples import KEY, OTHER_KEY, example_entry, passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A damaged envelope and the step of `verify_envelope` that refuses it."""

    step: int
    problem: str
    content: bytes


def malformed() -> dict[str, Malformed]:
    """Return every damaged envelope by file name."""
    return {f"{name}.json": made for name, made in (_outer() | _signatures() | _signed()).items()}


def _good() -> Any:
    return json.loads(example_entry(passed()).envelope)


def _outer() -> dict[str, Malformed]:
    good = json.dumps(_good()).encode()
    return {
        "envelope_truncated": _case(1, "not strict JSON", good[:-20]),
        "envelope_not_an_object": _case(1, "not a JSON object", b"[" + good + b"]"),
        "envelope_not_utf8": _case(1, "not strict JSON", good.replace(b"vnd", b"vn\xff")),
        "envelope_duplicate_member": _case(
            1, "occurs twice", good[:-1] + b', "payloadType": "text/plain"}'
        ),
        "envelope_nan": _case(1, "NaN is not a JSON number", good[:-1] + b', "extra": NaN}'),
        "envelope_payload_missing": _edited(2, "there is no payload", lambda e: e.pop("payload")),
        "envelope_payload_not_base64": _edited(
            2, "is not base64", lambda e: e.update(payload="!" + e["payload"][1:])
        ),
        "envelope_payload_line_break": _edited(
            2, "is not base64", lambda e: e.update(payload=e["payload"] + "\n")
        ),
        "envelope_payload_stray_bits": _edited(2, "not canonical base64", _stray_bits),
        "envelope_wrong_payload_type": _edited(
            3,
            "payload type is 'application/json'",
            lambda e: e.update(payloadType="application/json"),
        ),
        "envelope_payload_type_missing": _edited(
            3, "payload type is None", lambda e: e.pop("payloadType")
        ),
    }


def _signatures() -> dict[str, Malformed]:
    return {
        "envelope_no_signature": _edited(2, "exactly one", lambda e: e.update(signatures=[])),
        "envelope_two_signatures": _edited(
            2, "exactly one", lambda e: e["signatures"].append(copy.deepcopy(e["signatures"][0]))
        ),
        "envelope_signature_not_an_object": _edited(
            2, "there is no sig", lambda e: e.update(signatures=["sig"])
        ),
        "envelope_keyid_not_a_string": _edited(
            2, "there is no keyid", lambda e: e["signatures"][0].update(keyid=7)
        ),
        "envelope_signature_missing": _edited(
            2, "there is no sig", lambda e: e["signatures"][0].pop("sig")
        ),
        "envelope_bitflip_signature": _edited(5, "not this key's", _flip_signature),
        "envelope_bitflip_payload": _edited(5, "not this key's", _flip_payload),
        "envelope_raw_signature": _edited(5, "not this key's", _raw_signature),
        "envelope_wrong_key": _case(5, "not this key's", sign_payload(_payload(), OTHER_KEY)),
        "envelope_signed_as_another_type": _edited(
            5, "not this key's", lambda e: e.update(signatures=_signatures_as("text/plain"))
        ),
    }


def _signed() -> dict[str, Malformed]:
    return {
        "statement_not_json": _payload_case(6, "not strict JSON", b"PASSED"),
        "statement_not_an_object": _payload_case(6, "not a JSON object", b"[]"),
        "statement_duplicate_member": _payload_case(
            6, "occurs twice", _payload().replace(b'"_type"', b'"_type":"x","_type"', 1)
        ),
        "statement_infinite_number": _payload_case(
            6, "1e999 is not a JSON number", _payload().replace(b"0.0078125", b"1e999")
        ),
        "statement_wrong_type": _payload_case(
            7, "statement type", _payload().replace(b"Statement/v1", b"Statement/v0.1")
        ),
        "statement_without_subject": _payload_case(
            7, "no subject", _payload().replace(b'"subject"', b'"object"')
        ),
        "statement_without_digest": _payload_case(
            7, "no digest.sha256", _payload().replace(b'{"sha256":"22', b'{"md5":"22')
        ),
        "statement_wrong_predicate_type": _payload_case(
            8,
            "predicate type",
            _payload().replace(b"inference-verdict/v0.1", b"inference-verdict/v9"),
        ),
        "statement_unknown_verdict": _payload_case(
            9, "verdict is 'ALMOST'", _payload().replace(b'"PASSED"', b'"ALMOST"')
        ),
        "statement_without_predicate": _payload_case(
            9, "no predicate", _payload().replace(b'"predicate"', b'"prediction"')
        ),
    }


def _case(step: int, problem: str, content: bytes) -> Malformed:
    return Malformed(step=step, problem=problem, content=content)


def _edited(step: int, problem: str, edit: Callable[[Any], object]) -> Malformed:
    envelope = _good()
    edit(envelope)
    return _case(step, problem, json.dumps(envelope).encode())


def _payload_case(step: int, problem: str, payload: bytes) -> Malformed:
    return _case(step, problem, sign_payload(payload, KEY))


def _payload() -> bytes:
    return base64.b64decode(_good()["payload"])


def _signatures_as(payload_type: str) -> Any:
    return json.loads(sign_payload(_payload(), KEY, payload_type=payload_type))["signatures"]


def _flipped(text: str, index: int) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[index] ^= 1
    return base64.b64encode(raw).decode()


def _flip_signature(envelope: Any) -> None:
    entry = envelope["signatures"][0]
    entry["sig"] = _flipped(entry["sig"], -1)


def _flip_payload(envelope: Any) -> None:
    envelope["payload"] = _flipped(envelope["payload"], 40)


def _raw_signature(envelope: Any) -> None:
    entry = envelope["signatures"][0]
    r, s = decode_dss_signature(base64.b64decode(entry["sig"]))
    entry["sig"] = base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()


def _stray_bits(envelope: Any) -> None:
    # The last symbol before "==" has four bits that decode to nothing; "A" and "B" differ in one.
    padded = base64.b64encode(b"{}  ").decode()
    envelope["payload"] = padded.replace("A==", "B==")
