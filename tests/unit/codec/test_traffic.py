"""Traffic files are read line by line; a bad line is named and does not stop the others."""

import gzip
import json
from pathlib import Path

import pytest

from audit.codec import traffic
from audit.codec.traffic import TrafficLine, read_traffic
from audit.errors import ConfigurationError
from tests.support.example_model import TRAFFIC

GOOD = json.dumps(
    {"request": {"prompt": [1]}, "response": {"choices": [{"text": "b", "token_ids": [2]}]}}
).encode()


def file_of(folder: Path, *lines: bytes, name: str = "traffic.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def lines_of(*paths: Path) -> list[TrafficLine]:
    return list(read_traffic(list(paths)))


def test_lines_are_numbered_over_all_files_and_named_by_file_and_line(tmp_path: Path) -> None:
    first = file_of(tmp_path, GOOD, b"", b"  ", GOOD, name="a.jsonl")
    second = file_of(tmp_path, b"", GOOD, name="b.jsonl")
    found = lines_of(first, second)
    assert [line.index for line in found] == [0, 1, 2]
    assert [line.source for line in found] == [f"{first}:1", f"{first}:4", f"{second}:2"]


def test_the_same_line_is_the_same_audit_wherever_it_stands(tmp_path: Path) -> None:
    first, second, third = lines_of(file_of(tmp_path, GOOD, b"  " + GOOD + b"\r", GOOD + b" "))
    assert first.request_id == second.request_id == third.request_id
    assert first.request_id.startswith("line-")


def test_a_line_may_name_itself(tmp_path: Path) -> None:
    named = json.dumps({"request_id": "mine", **json.loads(GOOD)}).encode()
    (line,) = lines_of(file_of(tmp_path, named))
    assert line.request_id == "mine"
    assert line.request is not None and line.request.request_id == "mine"


BAD_LINES = {
    "cut_short": (GOOD[:-9], "cut short"),
    "no_object": (b"[1, 2]", "must be a JSON object"),
    "nested_too_deep": (b"[" * 100_000, "nested too deeply"),
    "objects_nested_too_deep": (b'{"a":' * 100_000, "nested too deeply"),
    "nan": (b'{"request": {"temperature": NaN}, "response": {}}', "NaN is not a JSON number"),
    "infinity": (b'{"request": {"temperature": -Infinity}}', "Infinity is not a JSON number"),
    "huge_integer": (b'{"request_id": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "not_utf8": (GOOD.replace(b'"b"', b'"\xff\xfe"'), "not UTF-8"),
    "half_a_surrogate_pair": (GOOD.replace(b'"b"', b'"\\ud800"'), "surrogate"),
    "id_no_string": (b'{"request_id": 3}', "must be a string"),
    "token_id_too_large": (GOOD.replace(b"[2]", b"[4294967296]"), "give 0 to 2147483647"),
    "negative_token_id": (GOOD.replace(b"[2]", b"[-1]"), "give 0 to"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_and_the_next_one_is_read(name: str, tmp_path: Path) -> None:
    content, complaint = BAD_LINES[name]
    bad, good = lines_of(file_of(tmp_path, content, GOOD))
    assert bad.request is None and bad.error is not None
    assert complaint in str(bad.error)
    assert good.request is not None and good.error is None


def test_a_long_request_id_is_refused_and_cut(tmp_path: Path) -> None:
    named = json.dumps({"request_id": "x" * 500, **json.loads(GOOD)}).encode()
    (line,) = lines_of(file_of(tmp_path, named))
    assert line.error is not None and len(line.request_id) == 128


@pytest.mark.parametrize("content", [b"", b"\n\n", b'{"config": {}, "samples": []}'])
def test_a_file_without_exchanges_is_an_error(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no exchanges in"):
        lines_of(file_of(tmp_path, content))


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jsonl", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot read the traffic file"):
            lines_of(path)


def test_a_difr_file_shares_its_settings_among_its_samples(tmp_path: Path) -> None:
    sample = {"prompt_token_ids": [1], "output_token_ids": [2]}
    document = {
        "config": {"sampling_temperature": 0.7, "sampling_seed": 3, "trusted_model_name": "m"},
        "samples": [sample, sample | {"temperature": 1.0, "seed": 4}],
    }
    path = file_of(tmp_path, json.dumps(document, indent=1).encode(), name="difr.json")
    first, second = lines_of(path)
    assert first.request is not None and second.request is not None
    stated = [line.exchange.sampling for line in (first.request, second.request)]
    assert [(s.temperature, s.seed) for s in stated] == [(0.7, 3), (1.0, 4)]
    assert first.request.claim.model == "m"
    assert [first.source, second.source] == [f"{path}:1", f"{path}:2"]


def test_a_bad_difr_sample_is_named(tmp_path: Path) -> None:
    document = {"config": None, "samples": [3, {"prompt_token_ids": [1]}]}
    found = lines_of(file_of(tmp_path, json.dumps(document).encode()))
    assert [line.error is not None for line in found] == [True, True]


def test_a_difr_file_nested_too_deep_is_no_crash(tmp_path: Path) -> None:
    (line,) = lines_of(file_of(tmp_path, b'{"samples": ' + b"[" * 100_000))
    assert line.error is not None


def test_every_line_of_the_recorded_traffic_is_an_exchange() -> None:
    for name in ("honest-vllm-fp32", "honest-transformers-serve", "cheat-fp8"):
        found = lines_of(TRAFFIC / f"{name}.jsonl")
        assert [line.error for line in found] == [None] * len(found)


def test_a_line_beyond_the_limit_is_one_bad_line_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "MAX_LINE_BYTES", len(GOOD) + 1)
    path = file_of(tmp_path, GOOD, GOOD + b" " * 5 * len(GOOD), GOOD)
    first, too_long, last = lines_of(path)
    assert first.request is not None
    assert "record one exchange a line" in str(too_long.error)
    assert last.request is not None
    assert last.source == f"{path}:3"


def packed(folder: Path, content: bytes, name: str = "traffic.jsonl.gz") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["traffic.jsonl.gz", "traffic.jsonl"])
def test_a_compressed_file_is_read_like_any_other_whatever_its_name(
    name: str, tmp_path: Path
) -> None:
    lines = [GOOD, b"", b"[1, 2]", GOOD]
    plain = lines_of(file_of(tmp_path, *lines, name="plain.jsonl"))
    path = packed(tmp_path, gzip.compress(b"\n".join(lines) + b"\n"), name)
    found = lines_of(path)
    assert [line.request for line in found] == [line.request for line in plain]
    assert [line.source for line in found] == [f"{path}:1", f"{path}:3", f"{path}:4"]
    assert [str(line.error) for line in found] == [str(line.error) for line in plain]


def test_parts_that_were_compressed_one_after_another_are_all_read(tmp_path: Path) -> None:
    path = packed(tmp_path, gzip.compress(GOOD + b"\n") + gzip.compress(GOOD))
    assert [line.error for line in lines_of(path)] == [None, None]


def test_a_compressed_file_without_exchanges_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no exchanges in"):
        lines_of(packed(tmp_path, gzip.compress(b"\n")))


def spoiled(content: bytes, where: int) -> bytes:
    return content[:where] + bytes([content[where] ^ 0xFF]) + content[where + 1 :]


PACKED = gzip.compress(b"\n".join([GOOD] * 50))

BAD_PACKED = {
    "cut_in_the_data": PACKED[: len(PACKED) // 2],
    "cut_before_the_checksum": PACKED[:-8],
    "cut_in_the_header": PACKED[:5],
    "magic_only": PACKED[:2],
    "unknown_method": PACKED[:2] + b"\xff" + PACKED[3:],
    "garbage_behind_the_header": PACKED[:10] + b"\xff" * 50,
    "wrong_checksum": spoiled(PACKED, len(PACKED) - 6),
    "wrong_length": spoiled(PACKED, len(PACKED) - 1),
    "garbage_at_the_end": PACKED + b"more",
}


@pytest.mark.parametrize("name", BAD_PACKED)
def test_a_damaged_compressed_file_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    path = packed(tmp_path, BAD_PACKED[name])
    with pytest.raises(ConfigurationError, match="cannot read the traffic file") as caught:
        lines_of(path)
    assert str(path) in str(caught.value) and not str(caught.value).endswith(": ")


def test_a_file_that_is_only_named_like_a_compressed_one_is_read(tmp_path: Path) -> None:
    (line,) = lines_of(file_of(tmp_path, GOOD, name="traffic.jsonl.gz"))
    assert line.error is None


def test_a_small_file_that_unpacks_into_one_endless_line_is_one_bad_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "MAX_LINE_BYTES", 1000)
    content = GOOD + b"\n" + b"x" * 10_000_000 + b"\n" + GOOD
    first, bomb, last = lines_of(packed(tmp_path, gzip.compress(content)))
    assert first.error is None and last.error is None
    assert "record one exchange a line" in str(bomb.error)
