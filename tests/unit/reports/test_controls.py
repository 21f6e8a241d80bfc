"""Control mappings: complete, dated, honest about their basis, and careful in their words."""

import datetime
import io
import re
from pathlib import Path

import pytest

from audit.errors import ConfigurationError
from audit.reports import controls, html, oscal, summaries
from audit.reports.answer import answer
from audit.reports.groups import tally
from tests.unit.reports.sample_report import (
    Sample,
    make_clean_sample,
    make_empty_sample,
    make_sample,
)
from tests.unit.reports.sample_verdicts import digest

REPORTS = Path(controls.__file__).parent
#: Words that claim what only a court, a certifier or an auditor may.
FORBIDDEN = re.compile(
    r"compliant\b|certified|certif(y|ies)\b|guarantee|fraud|in compliance with|proves? that", re.I
)


def control_ids(framework_id: str) -> set[str]:
    found = {f.framework_id: f for f in controls.load_frameworks()}
    return {control.control_id for control in found[framework_id].controls}


def test_the_mapped_controls_are_these() -> None:
    assert control_ids("eu-ai-act") == {"Art. 12", "Art. 19", "Art. 26", "Art. 72"}
    assert control_ids("iso-42001") == {"A.6.2.6", "A.6.2.8", "A.10"}
    assert control_ids("nist-ai-rmf") == {"MEASURE 2.4", "MEASURE 2.7", "MANAGE 3", "GOVERN 6"}
    assert control_ids("soc-2") == {"CC7.2", "CC9.2", "PI1"}


@pytest.mark.parametrize("framework", controls.load_frameworks(), ids=lambda f: f.framework_id)
def test_each_mapping_has_source_date_and_basis(framework: controls.Framework) -> None:
    assert framework.source and framework.source_version
    assert datetime.date.fromisoformat(framework.recorded_on) <= datetime.date(
        *map(int, controls.MAPPING_VERSION.split("-"))
    )
    assert re.search(r"secondary sources|public lists", framework.basis)


def test_controls_have_their_own_oscal_ids() -> None:
    ids = [c.oscal_id for framework in controls.load_frameworks() for c in framework.controls]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z_][a-z0-9._-]*", one) for one in ids)


def test_every_data_file_is_loaded() -> None:
    files = {file.stem for file in (REPORTS / "controls").iterdir()}
    assert files == set(controls.FRAMEWORKS)


def sources() -> list[Path]:
    return [
        *(REPORTS / "templates").iterdir(),
        *(REPORTS / "controls").iterdir(),
        *REPORTS.glob("*.py"),
    ]


@pytest.mark.parametrize("file", sources(), ids=lambda f: f.name)
def test_no_forbidden_word_in_templates_data_or_code(file: Path) -> None:
    assert not FORBIDDEN.findall(file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize("sample", [make_sample(), make_clean_sample(), make_empty_sample()])
def test_no_forbidden_word_in_what_is_rendered(sample: Sample) -> None:
    out = io.BytesIO()
    for render in (html.render, oscal.render):
        render(sample.report, sample.lines, out)
    for make in (summaries.svr_statement, summaries.vsa_statement):
        out.write(make(sample.report, sample.lines, manifest_digest=digest("m"), version="1"))
    assert not FORBIDDEN.search(out.getvalue().decode("utf-8"))


def test_the_scan_finds_what_it_looks_for() -> None:
    for phrase in ("is compliant with", "certified", "guarantees", "Fraud", "proves that"):
        assert FORBIDDEN.search(phrase)


def test_the_answer_names_figures_only() -> None:
    sample = make_sample()
    told = answer(sample.report, tally(sample.lines()))
    assert all(re.search(r"\d|No verdict is|nobody", sentence) for sentence in told.sentences)
    assert told.tone == "bad"
    assert answer(make_clean_sample().report, tally(make_clean_sample().lines())).tone == "good"


VALID = (REPORTS / "controls" / "soc-2.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('id = "soc-2"', "", "id must be a text"),
        ('recorded_on = "2026-11-21"', "recorded_on = 2026-11-21", "recorded_on must be a text"),
        ('"evidence", "failed", "verdicts"', '"evidnce"', "no section of the report is called"),
        ('sections = ["evidence", "failed", "verdicts"]', "sections = []", "at least one section"),
        ('confidence = "low"', 'confidence = "certain"', "confidence must be high, medium or low"),
        ("[[controls]]", "[controls]", "cannot be used"),
        ('name = "SOC 2"', 'name = "SOC 2', "cannot be used"),
    ],
)
def test_a_damaged_mapping_is_refused_with_the_reason(old: str, new: str, problem: str) -> None:
    assert old in VALID
    with pytest.raises(ConfigurationError, match=problem) as caught:
        controls.parse_framework(VALID.replace(old, new), origin="soc-2")
    assert "install inference-audit again" in str(caught.value)


def test_controls_that_are_no_tables_are_refused() -> None:
    head = VALID.partition("[[controls]]")[0]
    with pytest.raises(ConfigurationError, match="controls must be a list of tables"):
        controls.parse_framework(head + 'controls = "CC7.2"\n', origin="soc-2")


def test_only_this_mapping_or_none_is_rendered() -> None:
    assert controls.frameworks_of(None) == ()
    assert controls.frameworks_of(controls.CONTROL_MAPPING) == controls.load_frameworks()
    with pytest.raises(ConfigurationError, match="'other/1'"):
        controls.frameworks_of("other/1")
