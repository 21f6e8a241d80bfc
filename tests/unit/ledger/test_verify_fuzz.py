"""Whatever a bundle or a trust root holds, the verifier answers; it never breaks down."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import VerificationError
from audit.ledger.trust_root import TrustRootError, load_trust_root
from audit.ledger.verify import verify_bundle
from tests.unit.ledger.small_log import bundle, trust_root

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=12)
    | st.sampled_from(
        ["\ud800", "AAAA", "AA==", "-1", "0", "1e9", "\u2014 x AAAA\n", "a\n1\nb\n\n"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def _changed(document: bytes, data: st.DataObject) -> bytes:
    value: Any = json.loads(document)
    path = data.draw(st.sampled_from(_walk(value, ())))
    new = data.draw(VALUES)
    if not path:
        return json.dumps(new).encode()
    place = value
    for key in path[:-1]:
        place = place[key]
    old = place[path[-1]]
    if isinstance(old, str) and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(old)))
        new = (
            old[:at]
            + data.draw(st.sampled_from(["\n", " ", "+", "=", "\u00a0", "A", ""]))
            + old[at + 1 :]
        )
    place[path[-1]] = new
    return json.dumps(value).encode()


def _walk(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [path, *(p for key in value for p in _walk(value[key], (*path, key)))]
    if isinstance(value, list):
        return [path, *(p for n, item in enumerate(value) for p in _walk(item, (*path, n)))]
    return [path]


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_a_changed_bundle_is_answered(data: st.DataObject) -> None:
    changed = _changed(bundle(), data)
    try:
        found = verify_bundle(changed, trust_root())
    except VerificationError:
        return
    # What is still accepted says the very same.
    assert found == verify_bundle(bundle(), trust_root())


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_a_changed_trust_root_is_answered(data: st.DataObject) -> None:
    changed = _changed(trust_root(), data)
    try:
        found = verify_bundle(bundle(), changed)
    except VerificationError:
        pass
    else:
        assert found.statement == verify_bundle(bundle(), trust_root()).statement
    try:
        load_trust_root(changed)
    except TrustRootError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_answered(content: bytes) -> None:
    for arguments in ((content, trust_root()), (bundle(), content)):
        try:
            verify_bundle(*arguments)
        except VerificationError:
            continue
        raise AssertionError("arbitrary bytes were accepted")
