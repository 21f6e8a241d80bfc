"""The signed bytes are pinned, deterministic, and accepted by tools that are not ours."""

import base64
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from audit.ledger.envelope import sign_payload
from audit.ledger.verify import PAYLOAD_TYPE, pae, verify_envelope
from tests.golden.ledger.examples import KEY, example_entry, failed, key_of, passed
from tests.golden.ledger.regenerate import GOLDEN, golden_files
from tests.support.vectors import load_json


@pytest.mark.parametrize("name", golden_files())
def test_signing_gives_the_golden_bytes(name: str) -> None:
    assert golden_files()[name] == (GOLDEN / name).read_bytes()


def test_no_golden_file_is_left_over() -> None:
    stored = {path.name for path in GOLDEN.iterdir() if path.suffix in (".json", ".pub")}
    assert stored == set(golden_files())


def test_the_envelope_names_its_key() -> None:
    envelope = json.loads(example_entry(failed()).envelope)
    assert [entry["keyid"] for entry in envelope["signatures"]] == [KEY.key_id]


def test_the_payload_is_canonical_json() -> None:
    payload = base64.b64decode(json.loads(example_entry(passed()).envelope)["payload"])
    assert payload == rfc8785.dumps(json.loads(payload))


def test_a_number_that_is_not_finite_is_never_signed() -> None:
    broken = replace(passed(), mean_clipped_margin_logits=float("nan"))
    with pytest.raises(rfc8785.CanonicalizationError):
        example_entry(broken)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary())
def test_both_encodings_of_the_signed_bytes_agree(payload_type: str, payload: bytes) -> None:
    assert pae(payload_type, payload) == Envelope(payload, payload_type, {}).pae()


def test_lengths_count_bytes_not_characters() -> None:
    assert pae("caf\u00e9", "\u2265".encode()) == b"DSSEv1 5 caf\xc3\xa9 3 \xe2\x89\xa5"


def test_the_published_dsse_vector_is_met_byte_for_byte() -> None:
    vector = load_json("dsse/protocol_vector.json")
    payload, payload_type = vector["serializedBody"].encode(), vector["payloadType"]
    assert pae(payload_type, payload) == vector["pae"].encode()
    key = key_of(int(vector["testOnlyPrivateScalar"]))
    made = json.loads(sign_payload(payload, key, payload_type=payload_type))
    raw = base64.b64decode(vector["envelope"]["signatures"][0]["sig"])
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    assert made["payload"] == vector["envelope"]["payload"]
    assert base64.b64decode(made["signatures"][0]["sig"]) == encode_dss_signature(r, s)


def test_securesystemslib_accepts_the_envelope() -> None:
    envelope = Envelope.from_dict(json.loads(example_entry(passed()).envelope))
    key = SSlibKey.from_crypto(load_pem_public_key(KEY.public_key_pem), keyid=KEY.key_id)
    assert set(envelope.verify([key], 1)) == {KEY.key_id}


def test_openssl_accepts_the_signature(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: install it to check signatures with a foreign tool")
    envelope = json.loads(example_entry(passed()).envelope)
    (tmp_path / "pub").write_bytes(KEY.public_key_pem)
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "pae").write_bytes(pae(PAYLOAD_TYPE, base64.b64decode(envelope["payload"])))
    command = [openssl, "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "pae"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "Verified OK"), done.stderr


def test_what_is_signed_verifies_and_comes_back() -> None:
    statement = verify_envelope(example_entry(passed()).envelope, KEY.public_key_pem)
    predicate = statement["predicate"]
    assert isinstance(predicate, dict)
    assert predicate["verdict"] == "PASSED"
