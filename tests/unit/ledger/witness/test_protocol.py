import base64

import pytest

from audit.ledger.witness.protocol import (
    MAX_PROOF_LINES,
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    MalformedRequest,
    format_add_checkpoint,
    format_size,
    parse_add_checkpoint,
    parse_size,
)

HASH = base64.b64encode(bytes(range(32)))
NOTE = b"origin\n1\nroot\n\n\xe2\x80\x94 origin line\n"


@pytest.mark.parametrize("num_hashes", [0, 1, MAX_PROOF_LINES])
@pytest.mark.parametrize("old_size", [0, 7, 2**63 - 1])
def test_a_request_reads_back_as_it_was_written(old_size: int, num_hashes: int) -> None:
    request = AddCheckpoint(old_size=old_size, proof=(bytes(32),) * num_hashes, note=NOTE)
    assert parse_add_checkpoint(format_add_checkpoint(request)) == request


def test_the_request_has_the_published_form() -> None:
    request = AddCheckpoint(old_size=20852014, proof=(bytes(range(32)),), note=NOTE)
    assert format_add_checkpoint(request) == b"old 20852014\n" + HASH + b"\n\n" + NOTE


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no empty line ends the proof"),
        (b"old 1\n" + HASH + b"\n", "no empty line ends the proof"),
        (b"old 1\r\n\r\n" + NOTE.replace(b"\n\n", b"\n"), "no empty line ends the proof"),
        (b"old 1\n\n", "no checkpoint follows"),
        (b"\n\n" + NOTE, "the first line is not `old <size>`"),
        (b"1\n\n" + NOTE, "the first line is not `old <size>`"),
        (b"Old 1\n\n" + NOTE, "the first line is not `old <size>`"),
        (b"old\n\n" + NOTE, "the first line is not `old <size>`"),
        (b"old \n\n" + NOTE, "the old size is not a decimal number"),
        (b"old  1\n\n" + NOTE, "the old size is not a decimal number"),
        (b"old 01\n\n" + NOTE, "the old size is not a decimal number"),
        (b"old +1\n\n" + NOTE, "the old size is not a decimal number"),
        (b"old -1\n\n" + NOTE, "the old size is not a decimal number"),
        (b"old 1_0\n\n" + NOTE, "the old size is not a decimal number"),
        (b"old 1\r\n\n" + NOTE, "the old size is not a decimal number"),
        ("old \u0661\n\n".encode() + NOTE, "the old size is not a decimal number"),
        (b"old 9223372036854775808\n\n" + NOTE, "the old size is larger than any tree"),
        (b"old 1\n" + HASH + b"\r\n\n" + NOTE, "proof line 1 is not base64"),
        (b"old 1\n" + HASH + b"\n!\n\n" + NOTE, "proof line 2 is not base64"),
        (b"old 1\n" + HASH[:-1] + b"\n\n" + NOTE, "proof line 1 is not base64"),
        (b"old 1\n" + HASH[:-2] + b"9=\n\n" + NOTE, "proof line 1 is not canonical base64"),
        (b"old 1\nAAAA\n\n" + NOTE, "proof line 1 holds 3 bytes instead of 32"),
        (b"old 1\n" + (HASH + b"\n") * 64 + b"\n" + NOTE, "more than 63 proof lines: 64"),
        (b"old 1\n\n" + b"x" * MAX_REQUEST_BYTES, "the request is longer than"),
    ],
)
def test_each_malformation_has_its_own_error(body: bytes, problem: str) -> None:
    with pytest.raises(MalformedRequest, match=problem):
        parse_add_checkpoint(body)


@pytest.mark.parametrize("size", [0, 1, 2**63 - 1])
def test_a_named_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"12", "does not end in a newline"),
        (b"", "does not end in a newline"),
        (b"\n", "not a decimal number"),
        (b"012\n", "not a decimal number"),
        (b"12\n\n", "not a decimal number"),
        (b"9223372036854775808\n", "larger than any tree"),
    ],
)
def test_a_malformed_named_size_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(MalformedRequest, match=problem):
        parse_size(body)
