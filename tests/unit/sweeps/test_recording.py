"""Recordings: same run, same digest; a killed one is a beginning, a spoilt one an error."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from audit.errors import InvalidRequest
from audit.records import Message, Prompt, SamplingRequest
from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    Probe,
    ProbeKind,
    RawAnswer,
    RecordedAnswer,
)
from audit.sweeps.probe import make_probe
from audit.sweeps.provider.recording import (
    RecordingWriter,
    make_recording,
    read_recording,
    write_recording,
)
from audit.sweeps.provider.recording_lines import RecordingHeader, digest_of

HEADER = RecordingHeader(
    run_id="run-1", sweep_id="sweep-1", slot_at="2026-11-21T12:00:00Z", spec_json='{"name":"s"}'
)
GOLDEN = "sha256:ec2ef25b98f7225d95fafc55c852a13a99fa69f2c92482a3cb9242e4aaa7ba9d"


def probe_of(number: int) -> Probe:
    prompts = (
        Prompt(text=f"text {number} é\u2028"),
        Prompt(token_ids=(1, 2, number)),
        Prompt(messages=(Message(role="user", content=f"hi {number}"),)),
    )
    return make_probe(
        kind=ProbeKind.BORDER,
        detector="border-greedy/1",
        group="g",
        api=ApiStyle.CHAT if number % 3 == 2 else ApiStyle.COMPLETIONS,
        prompt=prompts[number % 3],
        sampling=SamplingRequest(temperature=0.7, top_p=1.0, seed=2**31 + number, max_tokens=1),
        wants_logprobs=number % 2 or None,
        stop=("\n",),
        extras={"min_p": 0.0},
        expected={"gap": 0.1 + number},
    )


def answer_of(endpoint: str, position: int) -> RecordedAnswer:
    statuses = tuple(AnswerStatus)
    status = statuses[position % len(statuses)]
    is_answered = status is AnswerStatus.ANSWERED
    return RecordedAnswer(
        endpoint=endpoint,
        position=position,
        raw=RawAnswer(
            status=status,
            http_status=200 if is_answered else None,
            body='{"text": "\\ud800 é \u2028\x00"}' if is_answered else "",
            is_cut=position % 2 == 1,
            sent_at="2026-11-21T12:00:01Z",
            elapsed_s=0.1 + 1e-7 * position,
            num_attempts=position,
            error=None if is_answered else "it went wrong",
        ),
    )


PLANS = {"b": [probe_of(n) for n in range(9)], "a": [probe_of(n) for n in range(20, 24)]}
ANSWERS = [answer_of(name, position) for name in PLANS for position in range(len(PLANS[name]))]


def packed(answers: list[RecordedAnswer], *, is_finished: bool = True) -> bytes:
    file = io.BytesIO()
    with RecordingWriter(file, HEADER, PLANS) as writer:
        for answer in answers:
            writer.append(answer)
        if is_finished:
            writer.finish()
    return file.getvalue()


def test_what_is_written_is_read_in_the_plans_order() -> None:
    shuffled = ANSWERS.copy()
    Random(1).shuffle(shuffled)  # noqa: S311  a draw, not a secret
    recording = read_recording(packed(shuffled))
    assert recording == make_recording(HEADER, PLANS, ANSWERS)
    assert recording.answers == tuple(ANSWERS)
    assert recording.is_complete and recording.plan_of("a") == tuple(PLANS["a"])
    assert recording.plan_of("nobody") == ()


def test_the_digest_is_the_same_everywhere_and_whatever_the_order() -> None:
    assert digest_of(HEADER, PLANS, reversed(ANSWERS)) == digest_of(HEADER, PLANS, ANSWERS)
    assert make_recording(HEADER, PLANS, ANSWERS).digest == GOLDEN
    fewer = make_recording(HEADER, PLANS, ANSWERS[:-1], is_complete=False)
    assert fewer.digest != GOLDEN
    swapped = {"a": PLANS["a"], "b": PLANS["b"]}
    assert make_recording(HEADER, swapped, ANSWERS).digest != GOLDEN


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    recording = make_recording(HEADER, PLANS, ANSWERS)
    write_recording(recording, tmp_path / "one.gz")
    assert (tmp_path / "one.gz").read_bytes() == packed(ANSWERS)
    assert len(gzip.decompress(packed(ANSWERS)).splitlines()) == 1 + 13 + 13 + 1


def test_every_beginning_reads_as_one() -> None:
    data = packed(ANSWERS)
    most = -1
    for length in range(0, len(data), 37):
        try:
            recording = read_recording(data[:length])
        except InvalidRequest as error:
            assert "holds no header" in str(error)
            continue
        assert not recording.is_complete or len(recording.answers) == len(ANSWERS)
        assert recording.answers == tuple(ANSWERS[: len(recording.answers)])
        assert len(recording.answers) >= most
        most = len(recording.answers)
    assert most >= len(ANSWERS) - 1


def test_a_writer_that_is_killed_leaves_every_answer_that_it_wrote(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from tests.unit.sweeps.test_recording import *\n"
        "with open(sys.argv[1], 'wb') as file:\n"
        "    writer = RecordingWriter(file, HEADER, PLANS)\n"
        "    for answer in ANSWERS[:7]: writer.append(answer)\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
    )
    path, root = tmp_path / "killed.gz", Path(__file__).parents[3]
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None and process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    recording = read_recording(path.read_bytes())
    assert recording.answers == tuple(ANSWERS[:7]) and not recording.is_complete


def test_an_unfinished_recording_says_so() -> None:
    recording = read_recording(packed(ANSWERS[:3], is_finished=False))
    assert (recording.is_complete, len(recording.answers)) == (False, 3)
    assert recording == make_recording(HEADER, PLANS, ANSWERS[:3], is_complete=False)


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(packed(ANSWERS)).splitlines()]


def repacked(found: list[dict[str, Any]]) -> bytes:
    return gzip.compress("".join(json.dumps(line) + "\n" for line in found).encode(), mtime=0)


def spoilt(index: int, **members: object) -> bytes:
    found = lines()
    found[index] |= members
    return repacked(found)


def spoilt_raw(**members: object) -> bytes:
    found = lines()
    found[14]["raw"] |= members
    return repacked(found)


def without(index: int, key: str) -> bytes:
    found = lines()
    del found[index][key]
    return repacked(found)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"plain text", "is not gzip, or was damaged"),
        (packed(ANSWERS) + b"more", "is followed by something else"),
        (gzip.compress(b"", mtime=0), "holds no header"),
        (gzip.compress(b"\xff\xfe\n", mtime=0), "line 1: holds what canonical JSON cannot"),
        (gzip.compress(b"[]\n", mtime=0), "must be a JSON object"),
        (repacked(lines()[1:]), "the first line, and no other, must be the header"),
        (repacked([lines()[0], *lines()]), "the first line, and no other, must be the header"),
        (spoilt(0, format="other/v9"), "line 1.format: must be inference-audit/sweep-recording/v1"),
        (spoilt(0, extra=1), "has missing or unknown members: extra"),
        (spoilt(0, spec=None), "line 1.spec: must be an object"),
        (spoilt(0, runId="run-2"), "is not the one that its end line names"),
        (spoilt(1, probeId="00"), "line 2.probeId: is not that of the probe's content"),
        (spoilt(1, position=1), "line 2.position: is out of order"),
        (without(2, "probeId"), "line 3: has missing or unknown members: probeId"),
        (spoilt(2, type="probes"), "is no line of a recording at this place"),
        (spoilt(14, position=99), "('b', 99) is an answer to no planned probe"),
        (spoilt(14, position=1), "('b', 1) was answered twice"),
        (spoilt(14, endpoint="c"), "('c', 0) is an answer to no planned probe"),
        (spoilt(14, position=-1), "must be a number from 0 on"),
        (spoilt_raw(status="fine"), "raw.status: is none of the known values"),
        (spoilt_raw(isCut=1), "raw.isCut: must be true or false"),
        (spoilt_raw(body=None), "raw.body: must be stated"),
        (spoilt_raw(body="\ud800"), "holds what canonical JSON cannot"),
        (spoilt_raw(elapsedS="long"), "raw.elapsedS: must be a number"),
        (spoilt_raw(body="another"), "is not the one that its end line names"),
        (repacked([*lines()[:-2], lines()[-1]]), "is not the one that its end line names"),
        (repacked([*lines(), lines()[-2]]), "comes after the end"),
        (repacked([*lines()[:-1], lines()[1]]), "is no line of a recording at this place"),
    ],
)
def test_a_spoilt_recording_is_refused_with_its_place(data: bytes, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_recording(data)
    assert told in str(caught.value)


def test_damage_in_the_middle_is_no_beginning() -> None:
    data = bytearray(packed(ANSWERS))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InvalidRequest):
        read_recording(bytes(data))


def test_a_specification_that_is_no_json_is_refused() -> None:
    header = RecordingHeader(run_id="r", sweep_id="s", slot_at="t", spec_json="{")
    with pytest.raises(InvalidRequest, match="is not JSON"):
        make_recording(header, PLANS, [])


def test_a_thousand_answers_are_written_quickly(tmp_path: Path) -> None:
    plans = {"a": [probe_of(n) for n in range(1000)]}
    start_s = time.perf_counter()
    with (tmp_path / "r.gz").open("wb") as file, RecordingWriter(file, HEADER, plans) as writer:
        for position in range(1000):
            writer.append(answer_of("a", position))
        writer.finish()
    assert time.perf_counter() - start_s < 10.0
    assert len(read_recording((tmp_path / "r.gz").read_bytes()).answers) == 1000
