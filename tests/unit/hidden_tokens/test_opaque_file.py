"""The part of a calibration file that holds the size laws."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import rfc8785

from audit.errors import CalibrationError
from audit.hidden_tokens.opaque import OpaqueLaws
from audit.hidden_tokens.opaque_evidence import OpaqueKind
from audit.hidden_tokens.opaque_fit import fit_opaque_laws
from tests.unit.hidden_tokens.made_up_sizes import MODEL, blobs, samples


@pytest.fixture(scope="module")
def laws() -> OpaqueLaws:
    """Laws of the made-up format."""
    return fit_opaque_laws(samples(blobs(100, 1)), samples(blobs(400, 2)))


def test_laws_come_back_from_a_file(laws: OpaqueLaws) -> None:
    few = blobs(5, 9, "gemini")
    refusing = fit_opaque_laws(samples(blobs(100, 1) + few), samples(blobs(400, 2)))

    assert laws.laws["openai-2025", OpaqueKind.BLOB].large is not None
    for one in (laws, refusing):
        document = json.loads(rfc8785.dumps(one.to_json()))  # type: ignore[arg-type]
        terms = replace(one.terms, calibration_id="sha256:11")
        assert OpaqueLaws.from_json(document, "sha256:11") == replace(one, terms=terms)


def _twice(document: dict[str, Any]) -> None:
    document["laws"].append(document["laws"][0])


def _shrinking(document: dict[str, Any]) -> None:
    document["laws"][0]["per_char"] = -1.0


def _other_kind(document: dict[str, Any]) -> None:
    document["laws"][0]["kind"] = "smell"


def _no_family(document: dict[str, Any]) -> None:
    document["families"][MODEL] = 5


def _bare_refusal(document: dict[str, Any]) -> None:
    document["refused"] = ["gemini"]


def _no_terms(document: dict[str, Any]) -> None:
    del document["terms"]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_twice, "opaque.laws holds a family twice"),
        (_shrinking, r"opaque.laws\[0\].per_char must be above 0"),
        (_other_kind, r"opaque.laws\[0\].kind must be one of blob, signature, summary"),
        (_no_family, f"opaque.families.{MODEL} must be a string"),
        (_bare_refusal, "opaque.refused must be an object"),
        (_no_terms, "opaque must have exactly the members laws, refused, families, terms"),
    ],
)
def test_damaged_files_are_refused(
    laws: OpaqueLaws, damage: Callable[[dict[str, Any]], None], problem: str
) -> None:
    document = json.loads(json.dumps(laws.to_json()))
    damage(document)

    with pytest.raises(CalibrationError, match=problem):
        OpaqueLaws.from_json(document)
