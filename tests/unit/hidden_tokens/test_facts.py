"""Facts about meters: the bundled ones, and what is refused of others."""

import json
from pathlib import Path

import pytest

from audit.billing_records import UsageSchema
from audit.errors import CalibrationError
from audit.hidden_tokens.facts import Fact, load_facts, parse_facts
from tests.support.hidden_tokens import load_blob_pairs

STEPPED = {"o1", "o1-preview", "o1-mini", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5-pro"}


def test_stepped_models_are_known_by_their_whole_names() -> None:
    facts = load_facts()
    for name in STEPPED:
        model = facts.of(name)
        assert model is not None
        assert model.name == name
        assert model.lattice is not None
        assert model.lattice.step_tokens == 64
    for other in ("gpt-5.2", "gpt-5.4", "o1-mini-my-tune", "acme/o1", "claude-opus-4", "o3"):
        model = facts.of(other)
        assert model is None or model.lattice is None


def test_every_fact_says_where_it_was_seen() -> None:
    facts = load_facts()
    parts = [
        part
        for model in facts.models
        for part in (model.envelope, model.lattice, model.output_cap, model.disclosure)
        if part is not None
    ]
    every: list[Fact] = [*parts, *facts.vocabularies, *facts.budgets]
    assert len(every) > 20
    assert all(fact.source and fact.date.startswith("2026-") for fact in every)
    fitted = [model.envelope for model in facts.models if model.envelope is not None]
    assert min(envelope.num_rows for envelope in fitted) >= 100


def test_recorded_counts_of_stepped_models_are_whole_steps() -> None:
    facts = load_facts()
    counts = [
        pair["reasoning_tokens"]
        for pair in load_blob_pairs()
        if (model := facts.of(pair["model"])) is not None and model.lattice is not None
    ]
    assert len(counts) >= 85
    assert all(count % 64 == 0 for count in counts)


def test_budgets_are_enforced_by_few() -> None:
    facts = load_facts()
    assert facts.budget_of(UsageSchema.VLLM) is not None
    assert facts.budget_of(UsageSchema.GEMINI) is None


MODEL = '[[model]]\nname = "m"\nfamily = "f"\npatterns = ["m"]\n'
PROVENANCE = 'source = "s"\ndate = "d"\nnum_rows = 1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "version is missing"),
        ('version = "1"\n[other]\n', "other is no known table"),
        (MODEL.replace('patterns = ["m"]', ""), "model m: patterns are missing"),
        (MODEL + "[model.steps]\nx = 1\n", "model m: steps is no known fact"),
        (MODEL + "colour = 1\n", "model m: .*colour"),
        (MODEL + "[model.lattice]\nstep_tokens = 64\n", "model m, lattice: .*'source'"),
        (MODEL + f"[model.lattice]\nstep_tokens = 1\n{PROVENANCE}", "steps of 2 tokens or more"),
        (MODEL + 'vocabulary = "v"\n', "model m: no vocabulary is called v"),
        (
            MODEL + "[model.envelope]\nlow_tokens = 0\nhigh_tokens = 1\nvisible_share = 0.0\n"
            f"{PROVENANCE}",
            "model m: an envelope needs a vocabulary",
        ),
        (f'[[budget]]\nschema = "x"\nslack_tokens = 1\n{PROVENANCE}', "budget: 'x' is not a valid"),
    ],
)
def test_bad_facts_are_named(text: str, message: str) -> None:
    text = text if "version" in text or not text else f'version = "1"\n{text}'
    with pytest.raises(CalibrationError, match=message):
        parse_facts(text)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "meters.toml"
    with pytest.raises(CalibrationError, match=r"meters\.toml: .*No such file"):
        load_facts(path)
    path.write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(CalibrationError, match=r"meters\.toml: "):
        load_facts(path)
