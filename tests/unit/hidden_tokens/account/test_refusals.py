"""What is never folded: each refusal by its own text."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from audit.billing_records import Money, RequestCheck, StoredAccount, Tier
from audit.errors import ConfigurationError, CorruptState, InvalidRequest
from audit.hidden_tokens.account.fold import fold
from audit.hidden_tokens.account.rules import load_billing_rules
from tests.unit.hidden_tokens.account.checks import KEY, check, reading

RULES = load_billing_rules()


def folded(checks: Sequence[RequestCheck], price: Money | None = None) -> StoredAccount:
    """Return the evidence after requests in one fold."""
    return fold(None, KEY, checks, RULES, price)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p_over": 0.0}, r"p_over: must lie in \(0, 1\], found 0"),
        ({"p_under": 1.5}, r"p_under: must lie in \(0, 1\], found 1.5"),
        ({"dkw_epsilon": -0.1}, r"dkw_epsilon: must lie in \[0, 1\]"),
        ({"dkw_epsilon": 0.0, "tier": Tier.ESTIMATOR}, "estimator rests on a finite calibration"),
        ({"expected_tokens": 0.0}, "expected_tokens: must be finite and more than 0"),
        ({"tier": Tier.COMMITMENT}, "commitment gives violations, not p-values"),
        ({"tier": Tier.TIMING, "num_calibration": 0}, "num_calibration: must be stated"),
    ],
)
def test_impossible_readings_are_refused(changes: dict[str, object], message: str) -> None:
    arguments = {"tier": Tier.REFERENCE_SAMPLING, **changes}
    with pytest.raises(InvalidRequest, match=message):
        folded([check(0, reading(**arguments))])  # type: ignore[arg-type]


def test_mixed_models_in_one_account_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="model: request request-1 has 'other', the account"):
        folded([check(0), check(1, model="other")])


def test_request_that_stands_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="checks: a request_id stands twice"):
        folded([check(0), check(0)])


def test_no_requests_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="checks: name one request at least"):
        folded([])


def test_other_accounts_evidence_is_refused() -> None:
    other = replace(KEY, account="other")
    with pytest.raises(InvalidRequest, match="key: the stored evidence is another account's"):
        fold(folded([check(0)]), other, [check(1)], RULES)


def test_other_rules_are_refused() -> None:
    other = replace(RULES, alpha=0.02)
    with pytest.raises(ConfigurationError, match="was gathered under the rules sha256:"):
        fold(folded([check(0)]), KEY, [check(1)], other)


@pytest.mark.parametrize(
    ("price", "message"),
    [
        (Money(amount="sixty", currency="USD"), "price.amount"),
        (Money(amount="-1", currency="USD"), "price.amount: must not be negative"),
        (Money(amount="60", currency=""), "price.currency"),
    ],
)
def test_prices_that_are_none_are_refused(price: Money, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        folded([check(0)], price)


def spoiled(account: StoredAccount, text: str) -> StoredAccount:
    """Return the account with another state."""
    return replace(account, state_json=text)


def test_changed_state_is_refused() -> None:
    account = folded([check(0)])
    text = account.state_json.replace('"num_requests":1', '"num_requests":2', 1)
    with pytest.raises(CorruptState, match="its checksum does not fit its content"):
        fold(spoiled(account, text), KEY, [check(1)], RULES)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format":"other"}', "null"])
def test_unreadable_state_is_refused(text: str) -> None:
    account = folded([check(0)])
    with pytest.raises(CorruptState, match=r"the evidence of the account sha256:.* cannot be used"):
        fold(spoiled(account, text), KEY, [check(1)], RULES)
