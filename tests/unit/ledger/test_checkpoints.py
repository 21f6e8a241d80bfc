"""The text of checkpoints: published bodies, and each malformed one by its own text."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger.checkpoints import (
    Checkpoint,
    CheckpointTextError,
    format_checkpoint_body,
    parse_checkpoint_body,
)
from tests.support.vectors import load_json

ROOT = bytes(range(32))
ROOT_TEXT = base64.b64encode(ROOT).decode()


def test_published_bodies_are_decided_as_published() -> None:
    cases = load_json("signed-note/checkpoint_bodies.json")["cases"]
    assert len(cases) == 11
    for case in cases:
        with pytest.raises(CheckpointTextError) as refused:
            parse_checkpoint_body(case["body"])
        if case.get("wantErr"):
            continue
        # the published roots are no SHA-256 hashes: nothing else may be wrong with these bodies
        origin, size, _, *extensions = case["body"].split("\n")[:-1]
        body = "\n".join([origin, size, ROOT_TEXT, *extensions, ""])
        if extensions:
            assert f"has {case['extensions']} extension lines" in str(refused.value)
        else:
            assert "bytes instead of 32" in str(refused.value)
            assert parse_checkpoint_body(body).size == case["size"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # all eight are taken by a verifier in wide use
        (f"log\n0300\n{ROOT_TEXT}\n", "'0300' has a leading zero"),
        (f"log\n+300\n{ROOT_TEXT}\n", "'\\+300' has a sign"),
        (f"log\n3_00\n{ROOT_TEXT}\n", "'3_00' has an underscore"),
        (f"log\n 300\n{ROOT_TEXT}\n", "' 300' has a space"),
        (f"log\n-5\n{ROOT_TEXT}\n", "'-5' has a sign"),
        (f"log\n300\n{ROOT_TEXT[:20]} {ROOT_TEXT[20:]}\n", "a space within its base64"),
        (f"log\n\u0663\u0660\u0660\n{ROOT_TEXT}\n", "digits that are not ASCII"),
        (f"\nlog\n300\n{ROOT_TEXT}\n", "begins with an empty line"),
        # and more
        ("", "does not end with a newline"),
        (f"log\n300\n{ROOT_TEXT}", "does not end with a newline"),
        ("log\n300\n", "has 2 lines instead of 3"),
        (f"log\n\n{ROOT_TEXT}\n", "has an empty line"),
        (f"log\n300\n{ROOT_TEXT}\n\n", "has an empty line"),
        (f"log\n300\n{ROOT_TEXT}\nmore\n", "has 1 extension lines"),
        (f"my log\n300\n{ROOT_TEXT}\n", "'my log' has a space or control"),
        (f"log\r\n300\r\n{ROOT_TEXT}\r\n", "has a space or control"),
        (f"a+b\n300\n{ROOT_TEXT}\n", "'a\\+b' has a plus sign"),
        (f"{'o' * 256}\n300\n{ROOT_TEXT}\n", "longer than 255 bytes"),
        (f"log\n0x12c\n{ROOT_TEXT}\n", "'0x12c' is not a decimal number"),
        (f"log\n3e2\n{ROOT_TEXT}\n", "'3e2' is not a decimal number"),
        (f"log\n00\n{ROOT_TEXT}\n", "'00' has a leading zero"),
        (f"log\n9223372036854775808\n{ROOT_TEXT}\n", "above 2\\*\\*63 - 1"),
        (f"log\n{'9' * 5000}\n{ROOT_TEXT}\n", "above 2\\*\\*63 - 1"),
        (f"log\n300\n{ROOT_TEXT[:-1]}\n", "is not base64"),
        (f"log\n300\n{ROOT_TEXT.replace('/', '_')}!\n", "is not base64"),
        (f"log\n300\n{ROOT_TEXT[:-2]}9=\n", "not written in canonical base64"),
        ("log\n300\nAAAA\n", "root has 3 bytes instead of 32"),
    ],
)
def test_malformed_bodies_are_refused(body: str, message: str) -> None:
    with pytest.raises(CheckpointTextError, match=message):
        parse_checkpoint_body(body)


def test_the_longest_origin_is_read() -> None:
    assert parse_checkpoint_body(f"{'o' * 255}\n300\n{ROOT_TEXT}\n").origin == "o" * 255


@given(size=st.integers(0, 2**63 - 1), root=st.binary(min_size=32, max_size=32))
def test_bodies_read_back(size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin="log.test.example", size=size, root=root)
    body = format_checkpoint_body(checkpoint)
    assert parse_checkpoint_body(body) == checkpoint


@given(st.text(max_size=100) | st.text("l+_ \n\u0660019-=AB", max_size=60))
def test_reading_any_text_gives_its_only_checkpoint_or_an_error(text: str) -> None:
    try:
        checkpoint = parse_checkpoint_body(text)
    except CheckpointTextError:
        return
    assert format_checkpoint_body(checkpoint) == text


@pytest.mark.parametrize(
    ("origin", "size", "root", "message"),
    [
        ("", 1, ROOT, "origin is empty"),
        ("a b", 1, ROOT, "has a space or control"),
        ("log", -1, ROOT, "cannot state the size -1"),
        ("log", 2**63, ROOT, "cannot state the size 9223372036854775808"),
        ("log", 1, ROOT[:31], "root has 31 bytes instead of 32"),
    ],
)
def test_impossible_checkpoints_are_not_written(
    origin: str, size: int, root: bytes, message: str
) -> None:
    with pytest.raises(CheckpointTextError, match=message):
        format_checkpoint_body(Checkpoint(origin=origin, size=size, root=root))
