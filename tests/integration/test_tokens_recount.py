"""`tokens recount` on answers that a real engine drew at float32, their first part hidden."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import Finished, run
from tests.integration.traffic import lines
from tests.support.example_model import MODEL, TRAFFIC

RECORDED = TRAFFIC / "honest-vllm-fp32.jsonl"
NUM_TOKENS, NUM_HIDDEN = 64, 40

Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    folder: Path
    sampled: list[Row]
    greedy: list[Row]

    def write(self, name: str, rows: Sequence[Row]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def recount(
        self, billed: Sequence[Row], traffic: Sequence[Row], *more: object, model: Path = MODEL
    ) -> Finished:
        return run(
            *("tokens", "recount", self.write("billed.jsonl", billed)),
            *("--traffic", self.write("traffic.jsonl", traffic), "--model", model, *more),
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    rows = [json.loads(line) for line in lines(RECORDED)]
    return World(
        folder=tmp_path_factory.mktemp("recount"),
        sampled=[row for row in rows if row["request"]["temperature"] == 1.0],
        greedy=[row for row in rows if row["request"]["temperature"] == 0.0],
    )


def shown(row: Row, request_id: str, *, finish_reason: str = "length") -> Row:
    """Return a recording whose first tokens were not shown; a lower limit drew the same ones."""
    visible = row["response"]["choices"][0]["token_ids"][NUM_HIDDEN:NUM_TOKENS]
    choice = {"index": 0, "text": "", "token_ids": visible, "finish_reason": finish_reason}
    response = row["response"] | {"choices": [choice], "usage": None}
    limit = NUM_TOKENS if finish_reason == "length" else row["request"]["max_tokens"]
    return row | {
        "request_id": request_id,
        "request": row["request"] | {"max_tokens": limit},
        "response": response,
    }


def bill(request_id: str, num_hidden: int = NUM_HIDDEN) -> Row:
    num_visible = NUM_TOKENS - NUM_HIDDEN
    return {
        "request_id": request_id,
        "account": "team-a",
        "provider": "https://host.example/v1",
        "model": "example",
        "observed_at": "2026-11-21T00:00:00Z",
        "usage_schema": "vllm",
        "usage": {
            "completion_tokens": num_hidden + num_visible,
            "completion_tokens_details": {"reasoning_tokens": num_hidden},
        },
    }


def test_honest_bills_are_counted_to_the_token(world: World) -> None:
    traffic = [shown(row, f"r{number}") for number, row in enumerate(world.sampled[:3])]
    # nothing known of the hidden part's end: where the seed's noise fits, it is found all the same
    traffic.append(shown(world.sampled[3], "r3", finish_reason="stop"))
    traffic.append(shown(world.sampled[4], "not billed"))
    done = world.recount([bill(f"r{number}") for number in range(4)], traffic, "--json")
    assert done.code == 0, done.stderr
    assert [line["outcome"] for line in done.lines] == ["AGREES"] * 4
    for line in done.lines:
        assert line["recount"]["low_tokens"] == line["recount"]["high_tokens"] == NUM_HIDDEN
        assert line["violation"] is None
    assert "1 recorded exchanges are not billed here" in done.stderr


def test_a_padded_bill_is_impossible(world: World) -> None:
    traffic = [shown(row, f"r{number}") for number, row in enumerate(world.sampled[:2])]
    padded = math.ceil(1.05 * NUM_HIDDEN)
    billed = [bill("r0"), bill("r1", padded)]
    done = world.recount(billed, traffic, "--json")
    assert done.code == 1, done.stderr
    assert [line["outcome"] for line in done.lines] == ["AGREES", "DISAGREES"]
    violation = done.lines[1]["violation"]
    assert violation["identity"] == "recount"
    assert violation["excess_tokens"] == padded - NUM_HIDDEN
    told = world.recount(billed, traffic)
    assert told.code == 1
    assert "1 AGREES, 1 DISAGREES, 0 INCONCLUSIVE" in told.stdout
    assert f"draws {NUM_HIDDEN} before" in " ".join(told.stdout.split())


def test_what_cannot_be_counted_is_told_with_its_reason(world: World) -> None:
    seedless = shown(world.sampled[0], "seedless")
    del seedless["request"]["seed"]
    other = shown(world.sampled[1], "another answer")
    other["response"]["choices"][0]["token_ids"].reverse()
    short = shown(world.sampled[2], "short")
    del short["response"]["choices"][0]["token_ids"][4:]
    uncounted = bill("uncounted")
    del uncounted["usage"]["completion_tokens_details"]
    unstated = shown(world.sampled[3], "uncounted")
    ids = ("seedless", "another answer", "short")
    done = world.recount([*map(bill, ids), uncounted], [seedless, other, short, unstated], "--json")
    assert done.code == 2, done.stderr
    assert [line["outcome"] for line in done.lines] == ["INCONCLUSIVE"] * 4
    reasons = [line["unchecked"]["reason"] for line in done.lines]
    assert reasons == ["no_evidence", "reference_diverged", "no_evidence", "no_count"]
    assert "without a seed" in done.lines[0]["statement"]


def test_an_answer_that_fits_many_places_is_not_called_right_or_wrong(world: World) -> None:
    repeating = next(row for row in world.greedy if is_repeating(row))
    done = world.recount([bill("r0")], [shown(repeating, "r0", finish_reason="stop")], "--json")
    assert done.code == 2, done.stderr
    (line,) = done.lines
    assert line["recount"]["low_tokens"] < line["recount"]["high_tokens"]
    assert line["violation"] is None


def is_repeating(row: Row) -> bool:
    """Return whether the visible answer stands elsewhere in the output too."""
    output: list[int] = row["response"]["choices"][0]["token_ids"][: NUM_TOKENS + 10]
    visible = output[NUM_HIDDEN:NUM_TOKENS]
    places = range(len(output) - len(visible) + 1)
    return sum(output[place : place + len(visible)] == visible for place in places) > 1


def test_bad_input_is_named(world: World) -> None:
    traffic = [shown(world.sampled[0], "r0")]
    missing = world.recount([bill("r0"), bill("r1")], traffic)
    assert missing.code == 65
    assert "r1 is billed, but no recorded exchange has this id" in missing.stderr
    twice = world.recount([bill("r0")], [*traffic, *traffic])
    assert twice.code == 65
    assert "r0 is recorded twice" in twice.stderr
    no_model = world.recount([bill("r0")], traffic, model=world.folder)
    assert no_model.code == 64
    assert str(world.folder) in no_model.stderr
    no_folder = world.recount([bill("r0")], traffic, model=world.folder / "absent")
    assert no_folder.code == 64
    assert "is no folder" in no_folder.stderr


def test_what_rounding_does_must_be_said_unless_the_traffic_is_float32(world: World) -> None:
    bfloat16, silent = shown(world.sampled[0], "r0"), shown(world.sampled[0], "r0")
    bfloat16["meta"] = bfloat16["meta"] | {"dtype": "bfloat16"}
    silent["meta"] = {name: text for name, text in silent["meta"].items() if name != "dtype"}
    for traffic, more in ((bfloat16, ("--dtype", "float32")), (silent, ())):
        done = world.recount([bill("r0")], [traffic], *more)
        assert done.code == 64
        assert "--tolerance-logits" in done.stderr
    said = world.recount([bill("r0")], [silent], "--dtype", "float32")
    assert said.code == 0, said.stderr
    absurd = world.recount([bill("r0")], [silent], "--tolerance-logits", "nan")
    assert absurd.code == 64
    assert "tolerance" in absurd.stderr
