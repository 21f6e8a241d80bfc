"""Billed reasoning tokens end to end, on real requests: train, calibrate, check, serve, verify."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import ServeProcess, run
from tests.support.hidden_tokens import Row, as_document, load_rows, split_groups

MODEL = "o1-preview-2024-09-12"


@dataclass(frozen=True)
class World:
    folder: Path
    calibration: Path
    tested: list[Row]

    def requests(self, name: str, rows: Iterable[Row], **how: Any) -> Path:
        path = self.folder / name
        lines = [json.dumps(as_document(row, **how)) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def of_model(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["model"] == MODEL]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Train on one part of the questions, calibrate on another, keep a third to test on."""
    folder = tmp_path_factory.mktemp("tokens")
    held, tested = split_groups(of_model(load_rows("billed_calib")))
    made = World(folder, folder / "calibration.json", tested)
    train = made.requests("train.jsonl", of_model(load_rows("billed_train")))
    done = run("tokens", "train", train, "--out", folder / "core.json")
    assert done.code == 0, done.stderr
    calibrate = made.requests("calibrate.jsonl", held)
    done = run(
        *("tokens", "calibrate", calibrate, "--core", folder / "core.json"),
        *("--out", made.calibration),
    )
    assert done.code == 0, done.stderr
    assert "sizes: " in done.stderr, "what could not be calibrated is told"
    return made


def check(world: World, path: Path, *more: object) -> tuple[int, list[dict[str, Any]]]:
    done = run("tokens", "check", path, "--calibration", world.calibration, "--json", *more)
    return done.code, done.lines


def test_honest_requests_are_not_said_to_disagree(world: World) -> None:
    code, lines = check(world, world.requests("honest.jsonl", world.tested))
    assert code in (0, 2)
    account = lines[-1]
    assert account["outcome"] in ("AGREES", "INCONCLUSIVE")
    assert account["num_requests"] == len(world.tested)
    assert account["num_violations"] == 0
    tiers = {reading["tier"] for line in lines[:-1] for reading in line["readings"]}
    assert tiers == {"timing", "estimator"}


def test_inflated_requests_disagree_though_they_keep_to_the_lattice(world: World) -> None:
    path = world.requests("inflated.jsonl", world.tested, factor=1.5)
    code, lines = check(world, path)
    account = lines[-1]
    assert code == 1
    assert (account["outcome"], account["direction"]) == ("DISAGREES", "over")
    # where the bill goes beyond what the model can write at all, that is told besides
    assert {one["identity"] for one in account["violations"]} <= {"model_cap", "top_speed"}
    assert account["log10_e_over"] >= account["log10_threshold"]
    assert account["disagreed_at_request"] <= len(world.tested)
    assert "disagrees with the reference" in account["statement"]


def test_an_invented_count_is_seen_on_one_request(world: World) -> None:
    document = as_document(world.tested[0])
    document["usage"]["completion_tokens_details"]["reasoning_tokens"] += 7
    document["usage"]["completion_tokens"] += 7
    path = world.folder / "invented.jsonl"
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
    code, lines = check(world, path)
    assert code == 1
    assert [one["identity"] for one in lines[0]["violations"]] == ["lattice"]


BAD: dict[str, tuple[Any, str]] = {
    "usage is missing": ({"usage": None}, "request.usage"),
    "a negative count": ({"usage": {"completion_tokens": -1}}, "completion_tokens"),
    "an absurd count": ({"usage": {"completion_tokens": 10**12}}, "completion_tokens"),
    "an unknown schema": ({"usage_schema": "acme"}, "usage_schema"),
    "a misspelt field": ({"acount": "x"}, "acount"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_by_field_and_line(world: World, name: str) -> None:
    change, field = BAD[name]
    path = world.folder / "bad.jsonl"
    good = as_document(world.tested[0])
    path.write_text(f"{json.dumps(good)}\n{json.dumps(good | change)}\n", encoding="utf-8")
    done = run("tokens", "check", path)
    assert done.code == 65
    assert "line 2" in done.stderr
    assert field in done.stderr


@pytest.mark.parametrize("command", ["check", "submit"])
def test_no_request_is_no_agreement(world: World, command: str) -> None:
    path = world.folder / "empty.jsonl"
    path.write_text("\n", encoding="utf-8")
    done = run("tokens", command, path)
    assert done.code == 65
    assert "holds no billed request" in done.stderr


def test_prices_without_a_currency_are_refused(world: World) -> None:
    prices = world.folder / "prices.toml"
    prices.write_text(
        '[[price]]\nmodel = "o1*"\noutput_per_million = "60.00"\n'
        'valid_from = "2024-09-01T00:00:00Z"\nsource = "price list"\n',
        encoding="utf-8",
    )
    done = run("tokens", "check", world.requests("p.jsonl", world.tested), "--prices", prices)
    assert done.code in (64, 65)
    assert "currency" in done.stderr


@pytest.fixture
def service(world: World, tmp_path: Path) -> Iterator[ServeProcess]:
    settings = tmp_path / "billing.toml"
    settings.write_text(f"calibration = '{world.calibration}'\n", encoding="utf-8")
    with ServeProcess(tmp_path, "--billing-settings", settings) as running:
        yield running


def test_the_service_signs_what_it_finds_and_anybody_can_verify_it(
    world: World, service: ServeProcess, tmp_path: Path
) -> None:
    path = world.requests("sent.jsonl", world.tested, factor=1.5)
    address = ("--address", service.address)
    first = run("tokens", "submit", path, *address)
    assert f"{len(world.tested)} requests taken" in first.stdout, first.stderr
    again = run("tokens", "submit", path, *address, "--json")
    assert again.lines and all(line["was_known"] for line in again.lines)

    listed = run("tokens", "account", *address, "--json")
    assert listed.code == 1
    (account,) = listed.lines
    assert account["num_requests"] == len(world.tested), "each request counts once"
    shown = run("tokens", "account", account["finding_id"], *address, "--json")
    (finding,) = shown.lines
    assert finding["outcome"] == "DISAGREES"
    assert finding["signed_version"] == finding["version"]

    bundle, root = tmp_path / "finding.json", tmp_path / "trust-root.json"
    assert run("log", "trust-root", *address, "--out", root).code == 0
    proved = run("log", "prove", finding["log_index"], *address, "--out", bundle)
    assert proved.code == 0, proved.stderr
    verified = run("verify", bundle, "--trust-root", root)
    assert verified.code == 0, verified.stdout + verified.stderr
    bundle.write_bytes(bundle.read_bytes().replace(b'"sig":"ME', b'"sig":"MF'))
    assert run("verify", bundle, "--trust-root", root).code == 1


def test_an_id_that_names_two_requests_is_refused(world: World, service: ServeProcess) -> None:
    row = world.tested[0]
    one = world.requests("one.jsonl", [row])
    other = world.requests("other.jsonl", [row], factor=1.5)
    assert run("tokens", "submit", one, "--address", service.address).code == 0
    refused = run("tokens", "submit", other, "--address", service.address)
    assert refused.code == 65
    assert "request_id" in refused.stderr
