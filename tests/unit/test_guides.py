"""The guides name what exists: settings, commands, options, fields, sections."""

import json
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, replace
from decimal import Decimal
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import typer

from audit.billing_records import (
    Adversary,
    BilledRequest,
    CallTiming,
    Controller,
    MeterOutcome,
    OpaqueEvidence,
    Tier,
    UsageSchema,
)
from audit.cli.root import app
from audit.config import BillingSettings, LogSettings, load_billing_settings, load_log_settings
from audit.errors import InvalidRequest
from audit.hidden_tokens.account.bets import null_mean
from audit.hidden_tokens.account.rules import DEFAULT_PATH, READING_DELTA, load_billing_rules
from audit.hidden_tokens.conformal import dkw_epsilon
from audit.hidden_tokens.estimator.training import MIN_CELL, MIN_CELL_GROUPS, MIN_TRAINING
from audit.hidden_tokens.facts import load_facts
from audit.hidden_tokens.invoice import parse_invoice
from audit.hidden_tokens.opaque_fit import fit_opaque_laws
from audit.hidden_tokens.prices import load_prices
from audit.hidden_tokens.submission import parse_billed_request
from audit.hidden_tokens.timing_fit import fit_speed_laws
from audit.ledger.verify import STEPS
from audit.ledger.witness_policy import parse_policy
from audit.reports.controls import SECTIONS
from audit.reports.formats import FORMATS
from audit.reports.make import PACK_FORMAT, SUMMARIES_FORMAT

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
VERDICT_LOG = (GUIDES / "verdict-log.md").read_text(encoding="utf-8")
REPORTS = (GUIDES / "compliance-reports.md").read_text(encoding="utf-8")
TOKENS = (GUIDES / "hidden-tokens.md").read_text(encoding="utf-8")
PROTOS = Path(__file__).parents[2] / "proto" / "inference_audit" / "v1"


def blocks(guide: str, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", guide, re.DOTALL)


def command_lines(guide: str) -> Iterator[str]:
    """Yield every line that calls our program, in blocks and in running text."""
    for block in blocks(guide, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("inference-audit "):
                yield line
    outside = re.sub(r"```.*?```", "", guide, flags=re.DOTALL)
    for quoted in re.findall(r"`(inference-audit [^`]+)`", outside):
        yield " ".join(quoted.split())


COMMANDS = sorted(
    {line for guide in (VERDICT_LOG, REPORTS, TOKENS) for line in command_lines(guide)}
)


def parse(line: str) -> None:
    """Parse a command line as the program does, without running it. Raises: click's errors."""
    command: Any = typer.main.get_command(app)
    program, *arguments = shlex.split(line)
    context = command.make_context(program, arguments)
    while hasattr(command, "commands"):
        # what is left of a group's own arguments begins with the name of its command
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_parses(line: str) -> None:
    parse(line)


def test_there_are_command_lines_in_all_guides() -> None:
    assert len(list(command_lines(VERDICT_LOG))) > 10
    assert len(list(command_lines(REPORTS))) >= 5
    assert len(list(command_lines(TOKENS))) >= 5


@pytest.mark.parametrize(
    "line",
    [
        "inference-audit log fsck",
        "inference-audit keys show --sideways",
        "inference-audit report verify",
        "inference-audit upkeep erase",
    ],
)
def test_a_wrong_command_line_would_be_found(line: str) -> None:
    with pytest.raises(typer.exceptions.TyperException):
        parse(line)


@pytest.mark.parametrize("name", [field.name for field in fields(LogSettings)])
def test_every_setting_has_its_row(name: str) -> None:
    assert re.search(rf"^\| `{name}` \| .+ \| .+ \|$", VERDICT_LOG, re.MULTILINE)


def test_the_example_of_settings_is_complete_and_loads(tmp_path: Path) -> None:
    (example,) = blocks(VERDICT_LOG, "toml")
    path = tmp_path / "log.toml"
    path.write_text(example, encoding="utf-8")
    settings = load_log_settings(path)
    assert [line.split(" = ")[0] for line in example.splitlines()] == [
        field.name for field in fields(LogSettings)
    ]
    assert settings.key_path == tmp_path / "keys" / "log-key.pem"
    assert settings.anchor_path == Path("/mnt/other-disk/log-anchor")
    assert settings.signer == "hsm:2?label=verdicts"


def test_told_defaults_are_the_defaults() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", VERDICT_LOG, re.MULTILINE))
    plain = LogSettings()
    assert told["origin"] == f"`{plain.origin}`"
    assert told["tenant"] == f"`{plain.tenant}`"
    assert float(told["publish_interval_s"]) == plain.publish_interval_s
    assert float(told["timestamp_interval_s"]) == plain.timestamp_interval_s
    assert told["is_post_quantum"] == f"`{str(plain.is_post_quantum).lower()}`"


def test_the_example_of_a_witness_policy_can_be_used() -> None:
    (example,) = blocks(VERDICT_LOG, "text")
    policy = parse_policy(example)
    assert not policy.is_met({"alice"})
    assert policy.is_met({"alice", "bob"})


def test_the_number_of_steps_is_right() -> None:
    assert f"its {len(STEPS)} steps" in VERDICT_LOG


def test_every_format_has_its_row() -> None:
    for name in (*FORMATS, SUMMARIES_FORMAT, PACK_FORMAT):
        assert re.search(rf"^\| .*`{name}`.* \| `", REPORTS, re.MULTILINE), name
    for found in FORMATS.values():
        assert f"`{found.file_name}`" in REPORTS


def test_sections_are_called_as_in_the_report() -> None:
    told = REPORTS.partition("## What the sections say")[2].partition("\n## ")[0]
    merged = {"Failed verdicts", "Inconclusive verdicts"}
    assert "Failed, Inconclusive verdicts" in told
    for title in SECTIONS.values():
        assert title in told or title in merged, title


def test_the_example_of_a_billed_request_is_complete_and_read() -> None:
    document = json.loads(blocks(TOKENS, "json")[0])
    request = parse_billed_request(document)
    assert document.keys() - {"usage_schema", "streamed_usage_schema"} == {
        field.name for field in fields(BilledRequest)
    }
    assert document["timing"].keys() == {field.name for field in fields(CallTiming)}
    assert document["opaque"].keys() == {field.name for field in fields(OpaqueEvidence)}
    assert (request.usage.output_tokens, request.usage.reasoning_tokens) == (684, 640)
    # "only the first seven are required"
    first = dict(list(document.items())[:7])
    parse_billed_request(first)
    for name in first:
        with pytest.raises(InvalidRequest):
            parse_billed_request({key: value for key, value in first.items() if key != name})


def test_every_field_of_a_billed_request_has_its_row() -> None:
    rows = TOKENS.partition("| field |")[2].partition("\n## ")[0]
    for field in fields(BilledRequest):
        assert re.search(rf"^\|[^|]*`{field.name}`", rows, re.MULTILINE), field.name
    for schema in UsageSchema:
        assert f"`{schema}`" in rows


def test_tiers_and_outcomes_are_called_as_in_findings() -> None:
    told = TOKENS.partition("| tier |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", told)) == set(Tier)
    for outcome in MeterOutcome:
        assert f"\n- `{outcome}`: " in TOKENS


def test_the_example_of_prices_can_be_used(tmp_path: Path) -> None:
    example, _ = blocks(TOKENS, "toml")
    path = tmp_path / "prices.toml"
    path.write_text(example, encoding="utf-8")
    price = load_prices(path).price_of("o1-mini-2024-09-12", "2026-11-03T08:30:00Z")
    assert price is not None
    line = json.loads(blocks(TOKENS, "json")[1])["lines"][0]
    # the amount of the invoice beside it, as it was rounded
    assert round(Decimal(price.cost_of(line["output_tokens"]).amount), 2) == Decimal("2.51")


def test_the_example_of_an_invoice_can_be_read() -> None:
    invoice = parse_invoice(json.loads(blocks(TOKENS, "json")[1]))
    assert [line.num_requests for line in invoice.lines] == [400]


def test_the_example_of_billing_settings_is_complete_and_loads(tmp_path: Path) -> None:
    _, example = blocks(TOKENS, "toml")
    path = tmp_path / "billing-settings.toml"
    path.write_text(example, encoding="utf-8")
    settings = load_billing_settings(path)
    told = {field.name: getattr(settings, field.name) for field in fields(BillingSettings)}
    assert told["vocabularies"] == tmp_path / "vocabularies"
    assert None not in told.values()


def test_rules_are_told_as_they_are() -> None:
    rules = load_billing_rules()
    assert f"`{DEFAULT_PATH.relative_to(Path(__file__).parents[2])}`" in TOKENS
    assert f"`false_alarm_rate` = {rules.alpha:g} " in TOKENS
    assert rules.calibration_share == 0.25
    assert f"at odds of {math.exp(rules.log_threshold_nats):.0f}." in TOKENS
    assert f"an inflation of {rules.excluded_inflation:g} times is ruled out" in TOKENS
    assert f"within {100 * rules.reference_error:g} % (`reference_error`)" in TOKENS
    origin = replace(rules, accused=Controller.ORIGIN_PROVIDER)
    assert not origin.may_acquit(Controller.CLIENT, Adversary.INFLATING_RESELLER)
    assert not origin.may_acquit(Controller.ORIGIN_PROVIDER, Adversary.INFLATING_RESELLER)


def test_least_numbers_of_a_calibration_are_told_as_they_are() -> None:
    told = TOKENS.partition("Least numbers:")[2].partition("\n\n")[0]
    speed, size = (signature(fit).parameters for fit in (fit_speed_laws, fit_opaque_laws))
    text = f"{MIN_TRAINING} requests to train; of each model, domain and effort {MIN_CELL} over "
    text += f"{MIN_CELL_GROUPS} questions for text, {speed['min_fit'].default} to fit and "
    text += f"{speed['min_calibration'].default} to calibrate for time; of each model "
    text += f"{size['min_fit'].default} and {size['min_calibration'].default} for sizes."
    assert text in " ".join(told.split())
    delta = load_billing_rules().calibration_delta
    for num, mean in ((100, 0.62), (1000, 0.54)):
        found = null_mean(dkw_epsilon(num, READING_DELTA), num, delta)
        assert round(found, 2) == mean
        assert str(mean) in told


def test_every_vocabulary_is_named_by_a_file() -> None:
    for vocabulary in load_facts().vocabularies:
        assert set(vocabulary.file_names) & set(re.findall(r"[\w.]+", TOKENS))


def test_every_rpc_about_bills_is_named() -> None:
    proto = (PROTOS / "billing_service.proto").read_text(encoding="utf-8")
    rpcs = re.findall(r"^  rpc (\w+)\(", proto, re.MULTILINE)
    assert len(rpcs) == 4
    for name in rpcs:
        assert f"`{name}`" in TOKENS
