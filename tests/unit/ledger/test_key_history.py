"""Which key counts where follows from the log's key events, and from nothing else."""

import json
from dataclasses import replace

import pytest

from audit.ledger.entries import KeyAction
from audit.ledger.key_history import KeyHistoryError, verdict_keys_of
from audit.log_records import LogEntry, SealedEntry
from tests.golden.ledger.examples import KEY, OTHER_KEY, example_entry, key_of, passed
from tests.unit.ledger.small_log import key_event, small_log

THIRD_KEY = key_of(20260104)
FIRST = key_event(KEY, KeyAction.INTRODUCED, None)
SECOND = key_event(OTHER_KEY, KeyAction.INTRODUCED, FIRST)
RETIRED = key_event(KEY, KeyAction.RETIRED, SECOND)


def _at(index: int, sealed: SealedEntry) -> LogEntry:
    return replace(small_log().entry(0), log_index=index, envelope=sealed.envelope)


def _refused(problem: str, *entries: LogEntry) -> None:
    with pytest.raises(KeyHistoryError, match=problem):
        verdict_keys_of(entries)


def test_a_log_without_key_events_has_no_keys() -> None:
    assert verdict_keys_of([]) == ()


def test_the_first_key_introduces_itself() -> None:
    (key,) = verdict_keys_of([_at(0, FIRST)])
    assert (key.key_id, key.from_index, key.below_index) == (KEY.key_id, 0, None)
    assert key.public_key_pem == KEY.public_key_pem.decode()
    assert key.verifier_id == "inference-audit"


def test_a_rotation_lets_the_old_key_count_up_to_its_retirement() -> None:
    old, new = verdict_keys_of([_at(0, FIRST), _at(9, SECOND), _at(10, RETIRED)])
    assert (old.from_index, old.below_index) == (0, 11)
    assert (new.from_index, new.below_index) == (9, None)
    assert [old.counts_at(i) for i in (0, 10, 11)] == [True, True, False]
    assert [new.counts_at(i) for i in (8, 9, 11)] == [False, True, True]


def test_a_revocation_reaches_back_to_the_index_that_it_names() -> None:
    revoked = key_event(
        KEY,
        KeyAction.REVOKED,
        RETIRED,
        signer=OTHER_KEY,
        below_index=5,
        compromised_at="2026-01-02T00:00:00Z",
    )
    events = [_at(0, FIRST), _at(9, SECOND), _at(10, RETIRED), _at(20, revoked)]
    old, new = verdict_keys_of(events)
    assert (old.below_index, old.compromised_at) == (5, "2026-01-02T00:00:00Z")
    assert new.below_index is None


@pytest.mark.parametrize(("named", "below"), [(None, 11), (99, 11), (0, 0)])
def test_a_revocation_never_lengthens_what_was_bounded(named: int | None, below: int) -> None:
    revoked = key_event(KEY, KeyAction.REVOKED, RETIRED, signer=OTHER_KEY, below_index=named)
    events = [_at(0, FIRST), _at(9, SECOND), _at(10, RETIRED), _at(20, revoked)]
    assert verdict_keys_of(events)[0].below_index == below


def test_a_key_is_never_bounded_before_its_introduction() -> None:
    revoked = key_event(OTHER_KEY, KeyAction.REVOKED, SECOND, below_index=3)
    new = verdict_keys_of([_at(0, FIRST), _at(9, SECOND), _at(20, revoked)])[1]
    assert (new.from_index, new.below_index) == (9, 9)


def test_events_that_cannot_be_followed_are_refused() -> None:
    stranger = key_event(THIRD_KEY, KeyAction.INTRODUCED, FIRST, signer=THIRD_KEY)
    _refused("does not count there", _at(0, FIRST), _at(5, stranger))
    late = key_event(THIRD_KEY, KeyAction.INTRODUCED, RETIRED)
    events = (_at(0, FIRST), _at(9, SECOND), _at(10, RETIRED))
    _refused("entry 11 .* does not count there", *events, _at(11, late))
    _refused("introduces the key .* again", _at(0, FIRST), _at(5, FIRST))
    unknown = key_event(THIRD_KEY, KeyAction.RETIRED, FIRST)
    _refused("was never introduced", _at(0, FIRST), _at(5, unknown))
    _refused("was never introduced", _at(0, RETIRED))


def test_a_first_key_that_another_introduces_is_refused() -> None:
    other = key_event(OTHER_KEY, KeyAction.INTRODUCED, None, signer=KEY)
    _refused("not this key's", _at(0, other))


def test_an_erased_or_damaged_event_is_refused() -> None:
    _refused("its content is gone", replace(_at(0, FIRST), envelope=None))
    for envelope in (b"", b"{}", b'{"payload":"e30=","signatures":[{"keyid":"x"}]}', b"\xff"):
        _refused("it is no key event", replace(_at(0, FIRST), envelope=envelope))


def test_a_changed_event_is_refused() -> None:
    document = json.loads(FIRST.envelope)
    document["signatures"][0]["sig"] = json.loads(SECOND.envelope)["signatures"][0]["sig"]
    _refused("not this key's", replace(_at(0, FIRST), envelope=json.dumps(document).encode()))


def test_a_verdict_in_the_place_of_an_event_is_refused() -> None:
    _refused("it is no key event", _at(0, FIRST), _at(3, example_entry(passed())))
