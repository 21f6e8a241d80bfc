"""The guide's example is a sweep that can be kept, and its tables name what there is."""

import re
from dataclasses import fields
from pathlib import Path

from audit.codec.sweep_file import parse_sweep
from audit.config import SweepSettings
from audit.records import Claim
from audit.sweep_records import ApiStyle, SweepOutcome
from audit.sweeps.policy import DETECTORS
from audit.sweeps.schedule.cron import check_schedule

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "sweeps.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """Return the names in the first column of the first table after a heading."""
    table = GUIDE.split(heading, 1)[1].split("|---", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


def test_the_example_is_a_sweep() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    spec = parse_sweep(text, check_schedule=check_schedule, known_detectors=DETECTORS)
    assert spec.claim == Claim(model="example/model", precision="bfloat16")
    assert [endpoint.api for endpoint in spec.endpoints] == [ApiStyle.CHAT, ApiStyle.COMPLETIONS]
    assert spec.endpoints[1].expected_upstream == "host-b"


def test_the_tables_name_all_that_there_is() -> None:
    assert set(first_cells("## Outcomes")) == set(SweepOutcome)
    assert tuple(first_cells("## Detectors")) == DETECTORS
    settings = [field.name for field in fields(SweepSettings)]
    assert first_cells("## Having it run") == settings
