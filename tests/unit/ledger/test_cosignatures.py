"""Cosignatures: the published ones, their exact message, and what they do not hold for."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger.checkpoints import Checkpoint, CheckpointTextError, format_checkpoint_body
from audit.ledger.cosignatures import (
    WitnessSigner,
    cosignature_timestamp,
    encode_time,
    subtree_message,
    verify_cosignature,
)
from audit.ledger.notes import (
    Algorithm,
    Ed25519NoteSigner,
    NoteError,
    NoteKey,
    open_note,
    parse_note,
    parse_vkey,
    sign_note,
)
from tests.support.vectors import load_json, vectors_folder

CHECKPOINT = Checkpoint(origin="log.test.example", size=7, root=bytes(range(32)))
TEXT = format_checkpoint_body(CHECKPOINT)
TIME = 1_767_139_200


def ed25519_key(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


LOG = Ed25519NoteSigner("log.test.example", ed25519_key(1))
WITNESS = WitnessSigner("witness.test.example", ed25519_key(2))


def signature_of(line: str) -> bytes:
    return parse_note(f"text\n\n{line}".encode()).signatures[0].signature


def test_published_times_are_read_as_published() -> None:
    cases = load_json("signed-note/cosignature_timestamp.json")["cases"]
    assert len(cases) == 3
    for case in cases:
        if case.get("wantErr"):
            # the third is not base64: it does not even make a line
            with pytest.raises(NoteError):
                cosignature_timestamp(signature_of(f"\u2014 witness {case['sig']}\n"))
        else:
            line = f"\u2014 witness {case['sig']}\n"
            assert cosignature_timestamp(signature_of(line)) == case["time"]


def test_the_published_cosigned_checkpoint_opens() -> None:
    published = load_json("tlog-tiles/sunlight-mirror-300.json")
    note = (vectors_folder() / "tlog-tiles/sunlight-mirror-300/checkpoint").read_bytes()
    key = parse_vkey(published["cosignerVkey"])
    (verified,) = open_note(note, [key]).verified
    assert verified.timestamp_s == published["timestamp"]


def test_a_cosigned_note_states_the_witness_and_its_time() -> None:
    note = sign_note(TEXT, [LOG]) + WITNESS.cosign(TEXT, TIME).encode()
    opened = open_note(note, [LOG.key, WITNESS.key])
    assert [(line.key, line.timestamp_s) for line in opened.verified] == [
        (LOG.key, None),
        (WITNESS.key, TIME),
    ]


def test_two_cosignatures_of_one_witness_count_once_and_must_both_verify() -> None:
    note = sign_note(TEXT, [LOG])
    first, second = (WITNESS.cosign(TEXT, TIME + later).encode() for later in (0, 60))
    for lines in (first + second, second + first):
        (_, verified) = open_note(note + lines, [LOG.key, WITNESS.key]).verified
        assert verified.timestamp_s == TIME
    forged = WITNESS.cosign(TEXT.replace("\n7\n", "\n8\n"), TIME).encode()
    with pytest.raises(NoteError, match=r"cosignature of witness\.test\.example does not verify"):
        open_note(note + first + forged, [LOG.key, WITNESS.key])


def test_a_cosignature_holds_for_its_key_text_and_time_only() -> None:
    signature = signature_of(WITNESS.cosign(TEXT, TIME))
    assert verify_cosignature(WITNESS.key, TEXT, signature) == TIME
    other = WitnessSigner("witness.test.example", ed25519_key(3)).key
    refused: list[dict[str, Any]] = [
        {"key": other},
        {"text": TEXT.replace("\n7\n", "\n8\n")},
        {"text": TEXT.replace("log", "fork")},
        {"signature": encode_time(TIME + 1) + signature[8:]},
    ]
    for changed in refused:
        given_: dict[str, Any] = {"key": WITNESS.key, "text": TEXT, "signature": signature}
        with pytest.raises(NoteError, match="does not verify"):
            verify_cosignature(**(given_ | changed))


@given(bit=st.integers(0, 72 * 8 - 1))
def test_no_flipped_bit_of_a_cosignature_verifies(bit: int) -> None:
    changed = bytearray(signature_of(WITNESS.cosign(TEXT, TIME)))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NoteError):
        verify_cosignature(WITNESS.key, TEXT, bytes(changed))


@pytest.mark.parametrize(
    ("key", "text", "signature", "message"),
    [
        (LOG.key, TEXT, bytes(72), "is of type ED25519: no cosigner"),
        (WITNESS.key, TEXT, bytes(64), "has 64 bytes instead of 72"),
        (WITNESS.key, TEXT, bytes(2428), "has 2428 bytes instead of 72"),
        (WITNESS.key, TEXT, b"\x80" + bytes(71), r"above 2\*\*63 - 1"),
    ],
)
def test_malformed_cosignatures_are_refused(
    key: NoteKey, text: str, signature: bytes, message: str
) -> None:
    with pytest.raises(NoteError, match=message):
        verify_cosignature(key, text, signature)


@pytest.mark.parametrize("timestamp_s", [0, 2**63 - 1])
def test_the_first_and_the_last_time_can_be_stated(timestamp_s: int) -> None:
    signature = signature_of(WITNESS.cosign(TEXT, timestamp_s))
    assert verify_cosignature(WITNESS.key, TEXT, signature) == timestamp_s


def test_a_time_is_not_read_from_another_kind_of_signature() -> None:
    with pytest.raises(NoteError, match="cannot have 64 bytes"):
        cosignature_timestamp(bytes(64))


def test_a_witness_signs_checkpoints_and_possible_times_only() -> None:
    with pytest.raises(CheckpointTextError, match="extension lines"):
        WITNESS.cosign(f"{TEXT}extension\n", TIME)
    with pytest.raises(NoteError, match="cannot state the time -1"):
        WITNESS.cosign(TEXT, -1)
    with pytest.raises(NoteError, match="cannot state the time 9223372036854775808"):
        WITNESS.cosign(TEXT, 2**63)


# ML-DSA-44


def test_the_message_of_ml_dsa_is_that_of_the_specification() -> None:
    assert subtree_message("w.example", TIME, CHECKPOINT).hex() == "".join(
        (
            "737562747265652f76310a00",  # subtree/v1, newline, zero
            "09772e6578616d706c65",  # w.example
            "0000000069546780",
            "106c6f672e746573742e6578616d706c65",  # log.test.example
            "0000000000000000",  # start
            "0000000000000007",  # end
            bytes(range(32)).hex(),
        )
    )


def test_an_ml_dsa_witness_verifies_with_its_time() -> None:
    private_key = MLDSA44PrivateKey.from_seed_bytes(bytes(32))
    public = private_key.public_key().public_bytes_raw()
    key = NoteKey.of("w.example", Algorithm.ML_DSA_44, public)
    signature = private_key.sign(subtree_message("w.example", TIME, CHECKPOINT))
    assert verify_cosignature(key, TEXT, encode_time(TIME) + signature) == TIME
    assert cosignature_timestamp(encode_time(TIME) + signature) == TIME
    with pytest.raises(NoteError, match="does not verify"):
        verify_cosignature(key, TEXT, encode_time(0) + signature)


def test_a_name_that_ml_dsa_cannot_sign_is_refused() -> None:
    with pytest.raises(NoteError, match="cosigner's name has 256 bytes"):
        subtree_message("n" * 256, TIME, CHECKPOINT)
    with pytest.raises(NoteError, match="origin's name has 0 bytes"):
        subtree_message("n", TIME, Checkpoint(origin="", size=0, root=bytes(32)))


def test_a_line_is_dash_name_and_key_id_with_signature() -> None:
    line = WITNESS.cosign(TEXT, TIME)
    dash, name, payload = line.removesuffix("\n").split(" ")
    assert (dash, name) == ("\u2014", "witness.test.example")
    assert base64.b64decode(payload)[:4] == WITNESS.key.key_hash
