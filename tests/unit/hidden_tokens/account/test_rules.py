"""The rules file: what it states, how alpha is split, and what is refused."""

import math
from pathlib import Path

import pytest

from audit.billing_records import Adversary, Controller, Tier
from audit.errors import ConfigurationError
from audit.hidden_tokens.account.rules import (
    BETTING_TIERS,
    CALIBRATED_TIERS,
    DEFAULT_PATH,
    MAX_LAWS,
    load_billing_rules,
)

TEXT = DEFAULT_PATH.read_text(encoding="utf-8")


def test_alpha_is_spent_once() -> None:
    rules = load_billing_rules()
    on_bets = 2 * math.exp(-rules.log_threshold_nats)
    on_calibrations = rules.calibration_delta * 2 * MAX_LAWS * len(CALIBRATED_TIERS)
    assert on_bets + on_calibrations == pytest.approx(rules.alpha)


def test_id_follows_the_values_and_not_the_comments(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("# mine\n" + TEXT, encoding="utf-8")
    assert load_billing_rules(path).rules_id == load_billing_rules().rules_id
    path.write_text(TEXT.replace("excluded_inflation = 1.25", "excluded_inflation = 1.5"))
    assert load_billing_rules(path).rules_id != load_billing_rules().rules_id


def test_bundled_weights_cover_every_tier_that_bets() -> None:
    rules = load_billing_rules()
    assert tuple(tier for tier, _ in rules.weights) == BETTING_TIERS
    assert rules.weight_of(Tier.TIMING) == 0.2


@pytest.mark.parametrize(
    ("accused", "controller", "stops", "may"),
    [
        ("billing_party", Controller.CLIENT, Adversary.INFLATING_RESELLER, True),
        ("billing_party", Controller.ORIGIN_PROVIDER, Adversary.INFLATING_RESELLER, True),
        ("billing_party", Controller.BILLING_PARTY, Adversary.CARELESS_GATEWAY, False),
        ("origin_provider", Controller.CLIENT, Adversary.INFLATING_RESELLER, False),
        ("origin_provider", Controller.ORIGIN_PROVIDER, Adversary.MALICIOUS_ORIGIN, False),
        ("origin_provider", Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN, True),
    ],
)
def test_who_may_speak_for_whom(
    accused: str, controller: Controller, stops: Adversary, may: bool, tmp_path: Path
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(TEXT.replace('accused = "billing_party"', f'accused = "{accused}"'))
    assert load_billing_rules(path).may_acquit(controller, stops) is may


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("false_alarm_rate = 0.01", "", "errors.false_alarm_rate is missing"),
        ("false_alarm_rate = 0.01", "false_alarm_rate = nan", "must be a number from 1e-09 to 0.5"),
        ("false_alarm_rate = 0.01", "false_alarm_rate = true", "must be a number"),
        ("probe = 0.05", "probe = 0.15", "must sum to 1, not to 1.1"),
        ("probe = 0.05", "probe = 0.05\nguess = 0.1", "weights.guess is not known here"),
        ('accused = "billing_party"', 'accused = "client"', "must be one of billing_party"),
        ('accused = "billing_party"', "accused = 3", "must be one of billing_party"),
        ("version = 1", "version = 0", "version must be a whole number"),
        ('name = "default"', 'name = ""', "name must be a line of text"),
        ('name = "default"', f'name = "{"n" * 101}"', "has 101 characters; 100 are allowed"),
        ("[claim]", "[claim", "are not valid TOML"),
        ("billing-rules/v1", "policy/v1", "holds no billing rules"),
    ],
)
def test_bad_files_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        load_billing_rules(path)


def test_table_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    head = TEXT[: TEXT.index("[errors]")]
    path.write_text(f"{head}\nerrors = 1\nclaim = 1\nweights = 1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="errors must be a table"):
        load_billing_rules(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the billing rules"):
        load_billing_rules(tmp_path / "none.toml")


def test_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("#" * 70_000, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is larger than any rules"):
        load_billing_rules(path)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="are not valid TOML"):
        load_billing_rules(path)
