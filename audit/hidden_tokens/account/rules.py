"""The rules by which an account's evidence is added up, as a TOML file with an id.

Rules state every value; nothing is filled in from elsewhere. How the false-alarm rate A is split:

    A (1 - calibration_share)   the bets, half of it in each direction
    A calibration_share         calibrations, evenly among the five calibrated tiers, their laws
                                (`MAX_LAWS` each) and the two directions

so that an honest meter is ever said to disagree with probability A at most (union bound).
"""

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import rfc8785

from audit import policies
from audit.billing_records import Adversary, Controller, Tier
from audit.errors import ConfigurationError

FORMAT = "inference-audit/billing-rules/v1"

DEFAULT_PATH = Path(policies.__file__).with_name("billing.toml")

#: A larger file is refused; rules with all their comments take a few kilobytes.
MAX_FILE_BYTES = 64 << 10
MAX_NAME_CHARS = 100

#: Tiers that give p-values, the strongest evidence first; findings rest on the first that serves.
BETTING_TIERS = (
    *(Tier.RECOUNT, Tier.REFERENCE_SAMPLING, Tier.OPAQUE, Tier.TIMING),
    *(Tier.PROBE, Tier.ESTIMATOR, Tier.PALACE),
)

#: Tiers whose estimates spread too widely for an upper bound on the ratio: few very large bills
#: carry the total, and are cut off by the bound. They accuse, but never acquit.
LOOSE_TIERS = (Tier.PROBE, Tier.ESTIMATOR, Tier.PALACE)

#: Of these, the ones whose p-values rest on a finite calibration, which has to be paid for.
CALIBRATED_TIERS = (Tier.OPAQUE, Tier.TIMING, Tier.PROBE, Tier.ESTIMATOR, Tier.PALACE)

#: Laws of one tier that one account's requests may be read by, such as streamed and not streamed.
MAX_LAWS = 2

#: `Reading.dkw_epsilon` fails with this probability at most: calibrations are made with no larger
#: one. What the bets pay follows from how many scores stand behind it, not from this.
READING_DELTA = 0.001

#: Whom a channel must be able to stop to speak for each accused.
_ADVERSARIES = {
    Controller.BILLING_PARTY: (Adversary.INFLATING_RESELLER, Adversary.MALICIOUS_ORIGIN),
    Controller.ORIGIN_PROVIDER: (Adversary.MALICIOUS_ORIGIN,),
}

#: What each accused can forge: who runs the model writes its bill, too.
_CONTROLLED = {
    Controller.BILLING_PARTY: (Controller.BILLING_PARTY,),
    Controller.ORIGIN_PROVIDER: (Controller.BILLING_PARTY, Controller.ORIGIN_PROVIDER),
}

_KEYS = {
    "": ("format", "name", "version", "errors", "claim", "weights"),
    "errors": ("false_alarm_rate", "calibration_share", "ratio_error_rate"),
    "claim": ("accused", "excluded_inflation", "reference_error"),
    "weights": ("together", *BETTING_TIERS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingRules:
    """How an account's evidence is added up; rates are fractions of 1."""

    name: str
    version: int
    alpha: float
    """The chance that an honest meter is ever said to disagree."""
    calibration_share: float
    ratio_alpha: float
    accused: Controller
    excluded_inflation: float
    reference_error: float
    """How far the totals that calibrated channels expect may be off, relatively."""
    together: float
    """The share of the stake that lies on all channels together."""
    weights: tuple[tuple[Tier, float], ...]
    """One for each of `BETTING_TIERS`, in that order; they sum to 1."""

    @property
    def rules_id(self) -> str:
        """Return `sha256:<hex>` of the content as RFC 8785 JSON."""
        return f"sha256:{hashlib.sha256(rfc8785.dumps(self.content())).hexdigest()}"

    @property
    def calibration_delta(self) -> float:
        """The chance allowed for one law's calibration failing in one direction."""
        return self.alpha * self.calibration_share / (2 * MAX_LAWS * len(CALIBRATED_TIERS))

    @property
    def log_threshold_nats(self) -> float:
        """The log e-value at which the meter disagrees, the same in each direction."""
        return math.log(2.0 / (self.alpha * (1.0 - self.calibration_share)))

    def weight_of(self, tier: Tier) -> float:
        """Return a tier's share of the stake. Raises: KeyError for one that gives no p-values."""
        return dict(self.weights)[tier]

    def may_acquit(self, controller: Controller, stops: Adversary) -> bool:
        """Return whether evidence may speak for the accused: they can neither forge nor bend it."""
        return controller not in _CONTROLLED[self.accused] and stops in _ADVERSARIES[self.accused]

    def is_controlled(self, controller: Controller) -> bool:
        """Return whether the accused could forge what this party holds."""
        return controller in _CONTROLLED[self.accused]

    def content(self) -> dict[str, Any]:
        """Return what the rules say, parsed; the id is its digest."""
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "errors": {
                "false_alarm_rate": self.alpha,
                "calibration_share": self.calibration_share,
                "ratio_error_rate": self.ratio_alpha,
            },
            "claim": {
                "accused": self.accused.value,
                "excluded_inflation": self.excluded_inflation,
                "reference_error": self.reference_error,
            },
            "weights": {"together": self.together, **{t.value: w for t, w in self.weights}},
        }


def load_billing_rules(path: Path | None = None) -> BillingRules:
    """Return the rules of a TOML file, or the bundled ones. Raises: ConfigurationError."""
    source = DEFAULT_PATH if path is None else path
    try:
        with source.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the billing rules {source}: {error.strerror}; name a TOML file"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(
            f"{source} is larger than any rules ({MAX_FILE_BYTES >> 10} KiB); name another file"
        )
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"the billing rules {source} are not valid TOML: {error}; mend that place"
        ) from error
    if document.get("format") != FORMAT:
        raise ConfigurationError(
            f'{source} holds no billing rules: it lacks the line format = "{FORMAT}"; start from a '
            f"copy of {DEFAULT_PATH}"
        )
    return _rules(_Table(source, "", document))


def _rules(root: "_Table") -> BillingRules:
    errors, claim, table = root.table("errors"), root.table("claim"), root.table("weights")
    weights = tuple((tier, table.number(tier, 0.0, 1.0)) for tier in BETTING_TIERS)
    total = math.fsum(weight for _, weight in weights)
    if not math.isclose(total, 1.0, abs_tol=1e-9):
        table.refuse("reference_sampling", f"and the other tiers must sum to 1, not to {total:g}")
    return BillingRules(
        name=root.text("name"),
        version=root.whole("version"),
        alpha=errors.number("false_alarm_rate", 1e-9, 0.5),
        calibration_share=errors.number("calibration_share", 0.01, 0.9),
        ratio_alpha=errors.number("ratio_error_rate", 1e-9, 0.5),
        accused=claim.accused("accused"),
        excluded_inflation=claim.number("excluded_inflation", 1.01, 100.0),
        reference_error=claim.number("reference_error", 0.0, 0.5),
        together=table.number("together", 0.0, 1.0),
        weights=weights,
    )


class _Table:
    """One table of a rules file, read by type; a bad value is refused by its name."""

    def __init__(self, source: Path, name: str, values: Mapping[str, Any]) -> None:
        self._source, self._name, self._values = source, name, values
        for key in values:
            if key not in _KEYS[name]:
                self.refuse(key[:60], f"is not known here; known are: {', '.join(_KEYS[name])}")
        for key in _KEYS[name]:
            if key not in values:
                self.refuse(key, f"is missing; rules state every value, see {DEFAULT_PATH}")

    def refuse(self, key: str, problem: str) -> NoReturn:
        path = f"{self._name}.{key}" if self._name else key
        raise ConfigurationError(f"the billing rules {self._source}: {path} {problem}")

    def table(self, key: str) -> "_Table":
        values = self._values[key]
        if not isinstance(values, dict):
            self.refuse(key, "must be a table")
        return _Table(self._source, key, values)

    def number(self, key: str, lowest: float, highest: float) -> float:
        value = self._values[key]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # written so that NaN, which TOML can state, fails too
        if not is_number or not lowest <= value <= highest:
            self.refuse(key, f"must be a number from {lowest:g} to {highest:g}")
        return float(value)

    def whole(self, key: str) -> int:
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**9:
            self.refuse(key, "must be a whole number from 1 to 1000000000")
        return value

    def text(self, key: str) -> str:
        value = self._values[key]
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.refuse(key, "must be a line of text")
        if len(value) > MAX_NAME_CHARS:
            self.refuse(key, f"has {len(value)} characters; {MAX_NAME_CHARS} are allowed")
        return value

    def accused(self, key: str) -> Controller:
        value = self._values[key]
        if not isinstance(value, str) or value not in list(_ADVERSARIES):
            self.refuse(key, f"must be one of {', '.join(_ADVERSARIES)}")
        return Controller(value)
