"""What may be asked of the log, and what is refused field by field."""

from collections.abc import Callable

import pytest

from audit.codec.log_limits import (
    EntryQuery,
    check_consistency,
    check_entry_key,
    check_inclusion,
    check_index,
    check_tile,
    page_start,
    page_token,
)
from audit.errors import InvalidRequest
from audit.log_records import EntryKind

BIG = 2**63 - 1


@pytest.mark.parametrize(
    ("check", "fields"),
    [
        (lambda: check_index("log_index", -1), ["log_index"]),
        (lambda: check_index("log_index", BIG), ["log_index"]),
        (lambda: check_entry_key(""), ["entry_key"]),
        (lambda: check_entry_key("x" * 513), ["entry_key"]),
        (lambda: check_entry_key("verdict:\n"), ["entry_key"]),
        (lambda: check_entry_key("\ud800"), ["entry_key"]),
        (lambda: check_inclusion(-1, -1, witnessed=False), ["log_index", "tree_size"]),
        (lambda: check_inclusion(5, 5, witnessed=False), ["log_index"]),
        (lambda: check_inclusion(1, 5, witnessed=True), ["witnessed"]),
        (lambda: check_consistency(0, 5), ["old_size"]),
        (lambda: check_consistency(-1, -1), ["old_size", "new_size"]),
        (lambda: check_consistency(6, 5), ["old_size"]),
        (lambda: check_tile(-1, -1, -1), ["level", "index", "width"]),
        (lambda: check_tile(8, 0, 257), ["level", "width"]),
        (lambda: check_tile(0, BIG // 256 + 1, 1), ["index"]),
        (lambda: check_tile(7, 1, 1), ["index"]),
        (lambda: page_start(EntryQuery(first_index=-1), ""), ["first_index"]),
    ],
)
def test_what_cannot_be_is_refused_by_name(check: Callable[[], object], fields: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check()
    assert [violation.field for violation in caught.value.violations] == fields


def test_what_can_be_passes() -> None:
    check_index("log_index", BIG - 1)
    check_entry_key("verdict:audit-1")
    check_inclusion(BIG - 1, 0, witnessed=True)
    check_inclusion(4, 5, witnessed=False)
    check_consistency(5, 5)
    check_consistency(BIG - 1, 0)
    assert check_tile(7, 0, 0) == 256
    assert check_tile(0, BIG // 256 - 1, 3) == 3


def test_a_token_goes_on_where_its_page_ended() -> None:
    query = EntryQuery(first_index=3, kinds=(EntryKind.INTENT,))
    assert page_start(query, "") == 3
    assert page_start(query, page_token(query, 17)) == 17


@pytest.mark.parametrize(
    "other",
    [
        EntryQuery(first_index=4),
        EntryQuery(first_index=3, kinds=(EntryKind.INTENT,)),
        EntryQuery(first_index=3, with_envelopes=True),
    ],
    ids=["first-index", "kinds", "envelopes"],
)
def test_a_token_is_good_for_its_own_query_only(other: EntryQuery) -> None:
    token = page_token(EntryQuery(first_index=3), 17)
    with pytest.raises(InvalidRequest, match="page_token: is not from an earlier page"):
        page_start(other, token)


@pytest.mark.parametrize("token", ["17", "17-", "-", "\u0661-", "mine", "9" * 30 + "-"])
def test_a_made_up_token_is_refused(token: str) -> None:
    query = EntryQuery()
    fingerprint = page_token(query, 0).partition("-")[2]
    for made_up in (token, f"{token}{fingerprint}" if token not in ("17", "17-") else "x"):
        with pytest.raises(InvalidRequest, match="page_token"):
            page_start(query, made_up)
