"""Builds what checks billed reasoning tokens: for the service, and for the command line."""

from dataclasses import dataclass

from audit.app.log import OpenLog
from audit.billing_records import Money
from audit.config import BillingSettings
from audit.desk import MeterDesk
from audit.errors import ConfigurationError
from audit.hidden_tokens.account.rules import BillingRules, load_billing_rules
from audit.hidden_tokens.calibration_file import BillingCalibration, load_billing_calibration
from audit.hidden_tokens.check import MeterChecker
from audit.hidden_tokens.facts import load_facts
from audit.hidden_tokens.palace.channel import PalaceChannel
from audit.hidden_tokens.palace.folder import read_calibration_bytes
from audit.hidden_tokens.prices import PriceTable, load_prices
from audit.hidden_tokens.vocabularies import NoVocabularies, TokenCounter, Vocabularies


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingTools:
    """Checker, rules and prices, as the settings name them."""

    checker: MeterChecker
    rules: BillingRules
    prices: PriceTable | None

    def price_of(self, model: str, at: str) -> Money | None:
        """Return the price of a million output tokens of a model at a time, where it is known."""
        price = None if self.prices is None else self.prices.price_of(model, at)
        return None if price is None else price.cost_of(1_000_000)


def build_billing(settings: BillingSettings) -> BillingTools:
    """Return what the settings name. Raises: ConfigurationError, CalibrationError."""
    calibration = BillingCalibration()
    if settings.calibration is not None:
        calibration = load_billing_calibration(settings.calibration)
    facts = load_facts()
    counter: TokenCounter = NoVocabularies()
    if settings.vocabularies is not None:
        counter = Vocabularies(settings.vocabularies, facts.vocabularies)
    return BillingTools(
        checker=MeterChecker(
            facts=facts, calibration=calibration, counter=counter, palace=_palace(settings)
        ),
        rules=load_billing_rules(settings.rules),
        prices=None if settings.prices is None else load_prices(settings.prices),
    )


def build_desk(log: OpenLog, tools: BillingTools) -> MeterDesk:
    """Return the desk of a running log, whose calibrations are logged first.

    Raises: StorageError, LogForked, ConfigurationError.
    """
    path, calibration = log.settings.billing.calibration, tools.checker.calibration
    if path is not None:
        log.recorder.log_calibration(calibration.calibration_id, path.read_bytes())
    folder, palace = log.settings.billing.palace, tools.checker.palace
    if folder is not None and palace is not None:
        log.recorder.log_calibration(palace.calibration_id, read_calibration_bytes(folder))
    return MeterDesk(
        store=log.store.billing,
        checker=tools.checker,
        rules=tools.rules,
        sign=log.recorder.log_billing,
        find_entry=log.reader.find,
        price_of=tools.price_of,
    )


def _palace(settings: BillingSettings) -> PalaceChannel | None:
    folder, model = settings.palace, settings.palace_model
    if folder is None and model is None:
        return None
    if folder is None or model is None:
        raise ConfigurationError(
            "the estimating model needs both its folder (palace) and the checkpoint that it was "
            "trained on (palace_model)"
        )
    # loads torch, which most commands do without
    from audit.app.palace import PalaceBasis, open_palace

    return open_palace(folder, PalaceBasis(model=model))
