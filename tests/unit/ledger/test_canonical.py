"""The fast way to canonical JSON gives the bytes of the slow one, or its refusal."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger.canonical import canonical
from audit.ledger.seal import Prepared, seal
from audit.ledger.statement_parts import chain_members
from audit.log_records import ChainLink, EntryKind
from tests.golden.ledger.examples import KEY
from tests.support.vectors import vectors_folder

NUMBERS = st.one_of(
    st.floats(),
    st.floats(min_value=-1, max_value=1),
    st.integers(),
    st.integers(-(2**53), 2**53),
    st.sampled_from([0.0, -0.0, 1e-4, 9.999e-5, 1e-6, 1e-7, 1e15, 1e16, 1e21, 5e-324, 1.5, 100.0]),
)
TEXTS = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["1e-5,", "x.0}", "\u2028", "\x7f", "\x1f", "\ud83d\ude00", "\ud800", "\ufb33", '"chain":{"']
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def outcome(write: Any, document: Any) -> Any:
    try:
        return write(document)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return "refused"


@settings(max_examples=1500, deadline=None)
@given(st.dictionaries(TEXTS, DOCUMENTS, max_size=5))
def test_both_ways_say_the_same(document: dict[str, Any]) -> None:
    assert outcome(canonical, document) == outcome(rfc8785.dumps, document)


@pytest.mark.parametrize("name", ["arrays", "french", "structures", "unicode", "values", "weird"])
def test_published_documents(name: str) -> None:

    folder = vectors_folder() / "jcs"
    document = json.loads((folder / "input" / f"{name}.json").read_bytes())
    assert (
        canonical({"x": document})
        == b'{"x":' + ((folder / "output" / f"{name}.json").read_bytes()) + b"}"
    )


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=6).filter(lambda name: name != "chain"), DOCUMENTS, max_size=4
    ),
    st.text(min_size=1, max_size=8).filter(str.isascii),
    st.integers(1, 2**40),
)
def test_a_prepared_statement_is_sealed_to_the_same_bytes(
    members: dict[str, Any], tenant: str, sequence: int
) -> None:
    link = ChainLink(tenant=tenant, sequence=sequence, previous_digest="sha256:" + "ab" * 32)

    def build(place: ChainLink) -> Any:

        return {"predicate": {**members, "chain": chain_members(place)}, "_type": "x"}

    place: Any = {
        "kind": EntryKind.REPORT,
        "chain": link,
        "entry_key": "report:1",
        "audit_id": None,
    }
    if outcome(rfc8785.dumps, build(link)) == "refused":
        return
    if any(name == "chain" for name in _names(members)):
        return
    assert Prepared.of(build, tenant).seal(KEY, **place) == seal(build(link), KEY, **place)


def _names(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for item in value.values() for name in _names(item))]
    if isinstance(value, list):
        return [name for item in value for name in _names(item)]
    return []
