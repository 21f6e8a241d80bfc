"""Signed notes and verifier keys: published cases, and each malformation by its own text."""

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import VerificationError
from audit.ledger.checkpoints import CheckpointTextError
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.note_keys import Algorithm
from audit.ledger.notes import (
    Ed25519NoteSigner,
    MlDsa44NoteSigner,
    NoteError,
    NoteKey,
    NoteSignature,
    UntrustedNote,
    format_note,
    format_vkey,
    open_note,
    parse_note,
    parse_vkey,
    sign_note,
    verify_line,
)
from tests.support.vectors import load_json

ORIGIN = "log.test.example"
BODY = f"{ORIGIN}\n7\n{base64.b64encode(bytes(range(32))).decode()}\n"
KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def ed25519_key(seed: int = 1) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def mldsa_key(seed: int = 1) -> MLDSA44PrivateKey:
    return MLDSA44PrivateKey.from_seed_bytes(bytes([seed]) * 32)


SIGNER = Ed25519NoteSigner(ORIGIN, ed25519_key())
NOTE = sign_note(BODY, [SIGNER])

# Published notes


@pytest.mark.parametrize("number", range(16))
def test_published_notes_are_opened_as_published(number: int) -> None:
    cases = load_json("signed-note/notes.json")["cases"]
    assert len(cases) == 16
    case = cases[number]
    note = base64.b64decode(case["noteBase64"])
    keys = [parse_vkey(key) for key in case["keys"]]
    if case["want"] == "ok":
        opened = open_note(note, keys)
        found = len(opened.verified), len(opened.unverified)
        assert found == (case["verified"], case["unverified"])
        return
    with pytest.raises(NoteError) as refused:
        open_note(note, keys)
    text = str(refused.value)
    assert ("more than once" in text) == (case["want"] == "ambiguous")
    assert ("no known key" in text) == (case["want"] == "unverified")
    assert ("does not verify" in text) == (case["want"] == "invalid")
    is_untrusted = isinstance(refused.value, UntrustedNote)
    assert is_untrusted == (case["want"] in ("unverified", "invalid"))


def test_the_published_note_is_signed_byte_for_byte() -> None:
    published = load_json("signed-note/notes.json")
    name, key_id, encoded = published["skeyTestOnly"].removeprefix("PRIVATE+KEY+").split("+", 2)
    seed = base64.b64decode(encoded)[1:]
    signer = Ed25519NoteSigner(name, Ed25519PrivateKey.from_private_bytes(seed))
    assert signer.key.id == key_id
    assert sign_note(published["signText"], [signer]) == published["signedNote"].encode()


def test_the_example_of_the_specification_opens() -> None:
    published = load_json("signed-note/c2sp_example.json")
    key = parse_vkey(published["vkey"])
    opened = open_note(published["note"].encode(), [key])
    assert opened.text == "This is an example message.\n"
    assert [signature.key for signature in opened.verified] == [key]


# Published keys


def test_published_keys_are_read_and_written() -> None:
    published = load_json("signed-note/vkeys.json")
    assert (len(published["valid"]), len(published["invalid"])) == (7, 7)
    for case in published["valid"]:
        key = parse_vkey(case["vkey"])
        assert (key.algorithm, format_vkey(key)) == (case["type"], case["vkey"])
    for case in published["invalid"]:
        with pytest.raises(NoteError):
            parse_vkey(case["vkey"])


def test_no_part_or_changed_byte_of_a_published_key_is_a_key() -> None:
    published = load_json("signed-note/vkeys.json")
    # the ID of an ECDSA key does not cover its name, so a part of the name is another valid key
    keys = [case["vkey"] for case in published["valid"] if case["type"] != Algorithm.ECDSA]
    assert len(keys) == 5
    mangled = []
    for key in keys:
        lengths = range(len(key) + 1)
        mangled += [key[first:end] for first in lengths for end in lengths[first:]]
        mangled += [f"{key[:at]}{chr(ord(key[at]) + 1)}{key[at + 1 :]}" for at in range(len(key))]
    accepted = [text for text in mangled if text not in keys and is_key(text)]
    assert accepted == []


def is_key(text: str) -> bool:
    try:
        parse_vkey(text)
    except NoteError:
        return False
    return True


def vkey(name: str, material: bytes) -> str:
    """Return a key whose ID is right, whatever else is not."""
    key_id = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4].hex()
    return f"{name}+{key_id}+{base64.b64encode(material).decode()}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name+c74f20a3", "has 2 parts instead of 3"),
        (KEY.replace("PeterNeumann", ""), "key name is empty"),
        (KEY.replace("PeterNeumann", "Peter Neumann"), "has a space or a control"),
        (KEY.replace("PeterNeumann", "Peter\u2003Neumann"), "has a space or a control"),
        (KEY.replace("PeterNeumann", "Peter\x01Neumann"), "has a space or a control"),
        (KEY.replace("c74f20a3", "C74F20A3"), "not 8 lower-case hex digits"),
        (KEY.replace("c74f20a3", "c74f20a"), "not 8 lower-case hex digits"),
        (KEY.replace("c74f20a3", "c74f20a4"), "has the ID c74f20a4, but .* give c74f20a3"),
        (KEY.replace("PeterNeumann", "Other"), "has the ID c74f20a3, but its name and key give"),
        (KEY + "!", "is not base64"),
        (KEY + "\n", "is not base64"),
        ("name+c74f20a3+", "is empty"),
        (vkey("name", b"\x65" + bytes(32)), "unknown type 0x65"),
        (vkey("name", b"\x01" + bytes(31)), "ED25519 has 31 bytes instead of 32"),
        (vkey("name", b"\x04" + bytes(33)), "COSIGNATURE_V1 has 33 bytes instead of 32"),
        (vkey("name", b"\x06" + bytes(1311)), "ML_DSA_44 has 1311 bytes instead of 1312"),
        (vkey("name", b"\x02" + bytes(91)), "ECDSA is not a DER public key"),
        (vkey("name", b"\x05" + bytes(91)), "RFC6962 is not a DER public key"),
    ],
)
def test_malformed_keys_are_refused(text: str, message: str) -> None:
    with pytest.raises(NoteError, match=message):
        parse_vkey(text)


def test_a_key_in_loose_base64_is_refused() -> None:
    # a loose reader drops the bits that are left over in the last character: the same key, twice
    text = vkey("name", b"\x02" + bytes(33))
    loose = text.removesuffix("A==") + "B=="
    assert base64.b64decode(loose.split("+", 2)[2]) == base64.b64decode(text.split("+", 2)[2])
    with pytest.raises(NoteError, match="canonical base64"):
        parse_vkey(loose)


# Malformed notes


SIGNED_LINE = NOTE.decode().split("\n\n")[1]
ANY_LINE = "\u2014 other AAAAAAA=\n"


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (b"text\xff\n\n" + ANY_LINE.encode(), "not UTF-8: see its byte 4"),
        (b"te\x00xt\n\n" + ANY_LINE.encode(), "control character"),
        (b"te\txt\n\n" + ANY_LINE.encode(), "control character"),
        (b"text\r\n\r\n" + ANY_LINE.encode(), "control character"),
        (f"text\n\n{ANY_LINE}".rstrip("\n").encode(), "does not end with a newline"),
        (b"", "does not end with a newline"),
        (f"text\n{ANY_LINE}".encode(), "no empty line between"),
        (f"\n{ANY_LINE}".encode(), "no empty line between"),
        (b"text\n\n", "no signature lines"),
        (f"text\n\n{ANY_LINE}more\n".encode(), "does not begin with an em dash"),
        (f"text\n\n{ANY_LINE.replace(chr(0x2014), '-')}".encode(), "does not begin with an em"),
        ("text\n\n\u2014 other\n".encode(), "not a name, a space and a signature"),
        ("text\n\n\u2014  AAAAAAA=\n".encode(), "key name is empty"),
        ("text\n\n\u2014 a+b AAAAAAA=\n".encode(), "has a plus sign"),
        ("text\n\n\u2014 a\u00a0b AAAAAAA=\n".encode(), "has a space"),
        ("text\n\n\u2014 other AAAA AAA=\n".encode(), "is not base64"),
        ("text\n\n\u2014 other AAAAAAA\n".encode(), "is not base64"),
        ("text\n\n\u2014 other AAAAAAA= \n".encode(), "is not base64"),
        ("text\n\n\u2014 other AAAAAAB=\n".encode(), "canonical base64"),
        ("text\n\n\u2014 other AAAAAA==\n".encode(), "shorter than a key ID and a signature"),
        ("text\n\n\u2014 other \n".encode(), "shorter than a key ID and a signature"),
        (f"text\n\n{ANY_LINE * 65}".encode(), "has 65 signatures; at most 64"),
        (b"a" * 1_000_001, "has 1000001 bytes; at most 1000000"),
    ],
)
def test_malformed_notes_are_refused(note: bytes, message: str) -> None:
    with pytest.raises(NoteError, match=message):
        parse_note(note)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_reading_any_bytes_gives_a_note_or_a_note_error(data: bytes) -> None:
    try:
        note = parse_note(data)
    except NoteError:
        return
    assert format_note(note) == data


def test_the_last_empty_line_ends_the_text() -> None:
    text = f"first\n\nsecond\n\n{ANY_LINE}"
    note = sign_note(text, [SIGNER])
    assert open_note(note, [SIGNER.key]).text == text
    assert format_note(parse_note(note)) == note


@pytest.mark.parametrize("text", ["no newline", "", "control\x01\n"])
def test_a_text_that_would_not_read_back_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        sign_note(text, [SIGNER])


def test_a_text_that_ends_like_a_signature_is_not_signed() -> None:
    text = f"text\n\n{ANY_LINE}".removesuffix("\n")
    with pytest.raises(NoteError, match="would be read as another"):
        sign_note(text, [SIGNER])


def test_a_note_without_signers_is_not_made() -> None:
    with pytest.raises(NoteError, match="no signature lines"):
        sign_note(BODY, [])


def test_64_signatures_are_read() -> None:
    # C2SP asks for at least 16
    note = NOTE + ANY_LINE.encode() * 63
    assert len(parse_note(note).signatures) == 64
    opened = open_note(note, [SIGNER.key])
    assert (len(opened.verified), len(opened.unverified)) == (1, 1)


# Opening


def test_every_line_of_a_known_key_must_verify() -> None:
    bad = NoteSignature(ORIGIN, SIGNER.key.key_hash, bytes(64)).line().encode()
    with pytest.raises(UntrustedNote, match=f"signature of {ORIGIN} does not verify"):
        open_note(NOTE + bad, [SIGNER.key])
    with pytest.raises(UntrustedNote, match="does not verify"):
        open_note(NOTE.replace(b"\n7\n", b"\n8\n"), [SIGNER.key])


def test_lines_of_unknown_keys_are_ignored_whatever_they_share() -> None:
    same_name = NoteSignature(ORIGIN, b"0000", bytes(64))
    same_id = NoteSignature("other", SIGNER.key.key_hash, bytes(64))
    opened = open_note(NOTE + (same_name.line() + same_id.line()).encode(), [SIGNER.key])
    assert opened.unverified == (same_name, same_id)


def test_a_parsed_note_opens_as_its_bytes_do() -> None:
    assert open_note(parse_note(NOTE), [SIGNER.key]) == open_note(NOTE, [SIGNER.key])


@given(bit=st.integers(0, len(NOTE) * 8 - 1))
def test_no_flipped_bit_of_a_note_opens(bit: int) -> None:
    changed = bytearray(NOTE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NoteError):
        open_note(bytes(changed), [SIGNER.key])


def test_a_line_is_verified_with_its_own_key_only() -> None:
    line = parse_note(NOTE).signatures[0]
    assert verify_line(SIGNER.key, BODY, line) is None
    other = Ed25519NoteSigner("other", ed25519_key()).key
    with pytest.raises(UntrustedNote, match=r"is not of the key other\+"):
        verify_line(other, BODY, line)


def test_key_types_that_are_only_read_are_not_trusted() -> None:
    text = next(
        case["vkey"] for case in load_json("signed-note/vkeys.json")["valid"] if case["type"] == 2
    )
    key = parse_vkey(text)
    line = NoteSignature(key.name, key.key_hash, bytes(70))
    with pytest.raises(UntrustedNote, match="type ECDSA, which is not verified here"):
        verify_line(key, BODY, line)


# ML-DSA-44


def test_both_signers_of_a_log_sign_one_checkpoint() -> None:
    post_quantum = MlDsa44NoteSigner(ORIGIN, mldsa_key())
    note = sign_note(BODY, [SIGNER, post_quantum])
    opened = open_note(note, [SIGNER.key, post_quantum.key])
    assert [(line.key, line.timestamp_s) for line in opened.verified] == [
        (SIGNER.key, None),
        (post_quantum.key, 0),
    ]
    assert parse_vkey(format_vkey(post_quantum.key)) == post_quantum.key
    assert len(open_note(note, [SIGNER.key]).unverified) == 1


def with_name(key: NoteKey, name: str) -> NoteKey:
    return NoteKey.of(name, key.algorithm, key.public)


def test_an_ml_dsa_line_holds_for_its_key_name_and_tree_only() -> None:
    signer = MlDsa44NoteSigner(ORIGIN, mldsa_key())
    signature = signer.sign(BODY)
    assert signature[:8] == bytes(8)
    assert len(signature) == 8 + 2420

    def check(key: NoteKey, text: str = BODY, signature: bytes = signature) -> int | None:
        return verify_line(key, text, NoteSignature(key.name, key.key_hash, signature))

    assert check(signer.key) == 0
    refused: list[dict[str, Any]] = [
        {"key": MlDsa44NoteSigner(ORIGIN, mldsa_key(2)).key},
        {"key": with_name(signer.key, "other.example")},
        {"key": signer.key, "text": BODY.replace("\n7\n", "\n8\n")},
        {"key": signer.key, "text": BODY.replace(ORIGIN, "fork.test.example")},
        {"key": signer.key, "text": BODY.replace("AAEC", "AAED")},
        # another time than the one that is signed
        {"key": signer.key, "signature": bytes(7) + b"\x01" + signature[8:]},
        {"key": signer.key, "signature": signature[:-1] + bytes([signature[-1] ^ 1])},
    ]
    for changed in refused:
        with pytest.raises(UntrustedNote, match="does not verify"):
            check(**changed)
    with pytest.raises(UntrustedNote, match="has 2427 bytes instead of 2428"):
        check(signer.key, signature=signature[:-1])


def test_ml_dsa_signs_checkpoints_only() -> None:
    signer = MlDsa44NoteSigner(ORIGIN, mldsa_key())
    with pytest.raises(CheckpointTextError, match="has 1 lines instead of 3"):
        signer.sign("just a text\n")
    line = NoteSignature(signer.key.name, signer.key.key_hash, bytes(2428))
    with pytest.raises(VerificationError, match="has 1 lines instead of 3"):
        verify_line(signer.key, "just a text\n", line)


def test_one_key_in_two_roles_has_two_ids() -> None:
    witness = WitnessSigner(ORIGIN, ed25519_key()).key
    assert witness.public == SIGNER.key.public
    assert witness.key_hash != SIGNER.key.key_hash
