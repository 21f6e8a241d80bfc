"""The guides about log and reports name what exists: settings, commands, options, sections."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from audit.cli.root import app
from audit.config import LogSettings, load_log_settings
from audit.ledger.verify import STEPS
from audit.ledger.witness_policy import parse_policy
from audit.reports.controls import SECTIONS
from audit.reports.formats import FORMATS
from audit.reports.make import PACK_FORMAT, SUMMARIES_FORMAT

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
VERDICT_LOG = (GUIDES / "verdict-log.md").read_text(encoding="utf-8")
REPORTS = (GUIDES / "compliance-reports.md").read_text(encoding="utf-8")


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


COMMANDS = sorted({*command_lines(VERDICT_LOG), *command_lines(REPORTS)})


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


def test_there_are_command_lines_in_both_guides() -> None:
    assert len(list(command_lines(VERDICT_LOG))) > 10
    assert len(list(command_lines(REPORTS))) >= 5


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
