"""Rank files of public vocabularies; tests that need one skip, with the reason, without it.

They stand in `var/vocabularies`, or in the folder that INFERENCE_AUDIT_VOCABULARIES names, under
the names that the facts know them by.
"""

import os
from pathlib import Path

import pytest

from audit.hidden_tokens.facts import load_facts

_BESIDE = Path(__file__).parents[2] / "var" / "vocabularies"


def vocabulary_folder(name: str) -> Path:
    """Return a folder with the rank file of a vocabulary; skips the test without it."""
    folder = Path(os.environ.get("INFERENCE_AUDIT_VOCABULARIES", _BESIDE))
    facts = next(facts for facts in load_facts().vocabularies if facts.name == name)
    if not any((folder / file_name).is_file() for file_name in facts.file_names):
        pytest.skip(f"no rank file of {name} in {folder}: {facts.source} has it")
    return folder
