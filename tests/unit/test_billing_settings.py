"""The settings file of billing audits."""

from pathlib import Path

import pytest

from audit.app.billing import build_billing
from audit.config import BillingSettings, load_billing_settings
from audit.errors import CalibrationError, ConfigurationError


def written(folder: Path, text: str) -> Path:
    path = folder / "billing.toml"
    path.write_text(text)
    return path


def test_no_file_means_accounting_and_ranks_alone() -> None:
    settings = load_billing_settings(None)
    assert settings == BillingSettings()
    tools = build_billing(settings)
    assert tools.checker.calibration.calibration_id == ""
    assert tools.price_of("o1", "2026-01-01T00:00:00Z") is None


def test_paths_lie_beside_the_file(tmp_path: Path) -> None:
    text = 'calibration = "c.json"\nrules = "r.toml"\nprices = "p.toml"\nvocabularies = "v"\n'
    assert load_billing_settings(written(tmp_path, text)) == BillingSettings(
        calibration=tmp_path / "c.json",
        rules=tmp_path / "r.toml",
        prices=tmp_path / "p.toml",
        vocabularies=tmp_path / "v",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('salt = "x"', "there is no setting 'salt'; known are: calibration, palace"),
        ("calibration = 3", "calibration must be of kind Path"),
        ("calibration", "cannot read the billing settings"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_billing_settings(written(tmp_path, text))


def test_a_calibration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot read"):
        build_billing(BillingSettings(calibration=tmp_path / "none.json"))


def test_a_price_is_told_for_a_million_tokens(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[[price]]\nmodel = "o1*"\ncurrency = "USD"\noutput_per_million = "60.00"\n'
        'valid_from = "2024-09-01T00:00:00Z"\nsource = "price list"\n'
    )
    tools = build_billing(BillingSettings(prices=prices))
    price = tools.price_of("o1-preview", "2026-01-01T00:00:00Z")
    assert price is not None
    assert (price.amount.rstrip("0").rstrip("."), price.currency) == ("60", "USD")
    assert tools.price_of("o1-preview", "2020-01-01T00:00:00Z") is None
