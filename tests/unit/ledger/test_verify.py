"""The verifier takes what was signed and nothing else; each refusal names its step."""

import base64
import json
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from audit.errors import VerificationError
from audit.ledger.verify import MAX_ENVELOPE_BYTES, is_signed, verify_envelope
from tests.golden.ledger.examples import KEY, OTHER_KEY
from tests.golden.ledger.malformed import malformed
from tests.golden.ledger.regenerate import ASSETS, GOLDEN
from tests.support.vectors import load_json

MALFORMED = malformed()
PASSED = (GOLDEN / "passed.envelope.json").read_bytes()


def _pem(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _refused_at(step: int, envelope: bytes, public_key_pem: bytes = KEY.public_key_pem) -> str:
    with pytest.raises(VerificationError, match=f"^step {step}: ") as caught:
        verify_envelope(envelope, public_key_pem)
    return str(caught.value)


@pytest.mark.parametrize("name", ["passed", "failed", "inconclusive"])
def test_golden_envelopes_verify(name: str) -> None:
    statement = verify_envelope(
        (GOLDEN / f"{name}.envelope.json").read_bytes(), (GOLDEN / "verdict.pub").read_bytes()
    )
    predicate = statement["predicate"]
    assert isinstance(predicate, dict)
    assert predicate["verdict"] == name.upper()


@pytest.mark.parametrize("name", MALFORMED)
def test_each_malformed_envelope_is_refused_at_its_step(name: str) -> None:
    case = MALFORMED[name]
    message = _refused_at(case.step, (ASSETS / name).read_bytes())
    assert case.problem in message
    assert "do not rely on this verdict" in message


def test_the_malformed_files_are_those_that_the_table_names() -> None:
    stored = {path.name: path.read_bytes() for path in ASSETS.iterdir()}
    assert stored == {name: case.content for name, case in MALFORMED.items()}


def _bit_flips(text: str) -> Iterator[str]:
    raw = base64.b64decode(text)
    for index in range(len(raw)):
        for bit in range(8):
            flipped = bytes([*raw[:index], raw[index] ^ (1 << bit), *raw[index + 1 :]])
            yield base64.b64encode(flipped).decode()


def test_every_bit_flip_of_the_signature_is_refused() -> None:
    envelope = json.loads(PASSED)
    for flipped in _bit_flips(envelope["signatures"][0]["sig"]):
        envelope["signatures"][0]["sig"] = flipped
        _refused_at(5, json.dumps(envelope).encode())


def test_every_byte_flip_of_the_payload_is_refused() -> None:
    envelope = json.loads(PASSED)
    for flipped in list(_bit_flips(envelope["payload"]))[::8]:
        envelope["payload"] = flipped
        _refused_at(5, json.dumps(envelope).encode())


def test_every_cut_of_the_envelope_is_refused() -> None:
    for length in range(0, len(PASSED), 7):
        _refused_at(1, PASSED[:length])


def test_another_key_is_refused_and_the_stated_key_is_named() -> None:
    assert KEY.key_id in _refused_at(5, PASSED, OTHER_KEY.public_key_pem)


@pytest.mark.parametrize("key_id", [None, "", "somebody else's key"])
def test_the_key_id_decides_nothing(key_id: str | None) -> None:
    envelope = json.loads(PASSED)
    del envelope["signatures"][0]["keyid"]
    if key_id is not None:
        envelope["signatures"][0]["keyid"] = key_id
    assert verify_envelope(json.dumps(envelope).encode(), KEY.public_key_pem)


def test_the_url_safe_alphabet_and_unknown_members_are_allowed() -> None:
    envelope = json.loads(PASSED)
    envelope["payload"] = envelope["payload"].replace("+", "-").replace("/", "_")
    envelope["signatures"][0]["sig"] = (
        envelope["signatures"][0]["sig"].replace("+", "-").replace("/", "_")
    )
    envelope["extension"] = {"kind": "unknown"}
    assert verify_envelope(json.dumps(envelope).encode(), KEY.public_key_pem)


def test_a_mixture_of_base64_alphabets_is_refused() -> None:
    envelope = json.loads(PASSED)
    envelope["payload"] = "-/" + envelope["payload"][2:]
    _refused_at(2, json.dumps(envelope).encode())


def test_an_envelope_beyond_the_limit_is_refused_before_it_is_parsed() -> None:
    filler = b" " * (MAX_ENVELOPE_BYTES - len(PASSED))
    assert verify_envelope(PASSED + filler, KEY.public_key_pem)
    assert "larger than" in _refused_at(1, PASSED + filler + b" ")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, '{"a":' * 50_000])
def test_json_that_exhausts_the_parser_is_refused(text: str) -> None:
    assert "strict JSON" in _refused_at(1, text.encode())


@pytest.mark.parametrize(
    "public_key_pem",
    [
        _pem(ec.derive_private_key(7, ec.SECP384R1()).public_key()),
        _pem(ec.derive_private_key(7, ec.SECP256K1()).public_key()),
        _pem(ed25519.Ed25519PrivateKey.from_private_bytes(b"7" * 32).public_key()),
        _pem(rsa.RSAPublicNumbers(65537, (1 << 2047) + 1).public_key()),
    ],
    ids=["P-384", "secp256k1", "Ed25519", "RSA"],
)
def test_keys_of_other_kinds_are_refused(public_key_pem: bytes) -> None:
    assert "is not an ECDSA P-256 key" in _refused_at(4, PASSED, public_key_pem)


@pytest.mark.parametrize("public_key_pem", [b"", b"no key", KEY.public_key_pem[:-40]])
def test_text_that_is_no_key_is_refused(public_key_pem: bytes) -> None:
    assert "is not a PEM public key" in _refused_at(4, PASSED, public_key_pem)


def test_every_wycheproof_ecdsa_case_is_decided_as_published() -> None:
    vectors = load_json("ecdsa/wycheproof_secp256r1_sha256.json")
    wrong, num_cases = [], 0
    for group in vectors["testGroups"]:
        key = load_pem_public_key(group["publicKeyPem"].encode())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        for case in group["tests"]:
            num_cases += 1
            accepted = is_signed(key, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            if accepted != (case["result"] == "valid"):
                wrong.append((case["tcId"], case["comment"], case["result"]))
    assert wrong == []
    assert num_cases == vectors["numberOfTests"]
