"""Sweep policies: what sweeps promise, need to see and conclude, as a TOML file with an id.

A policy states every value; nothing is filled in from elsewhere, so two auditors with the same
policy id decide by the same rules.
"""

import hashlib
import math
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import rfc8785

from audit import policies
from audit.errors import ConfigurationError, InvalidRequest
from audit.sweeps.policy_table import PolicyTable

FORMAT = "inference-audit/sweep-policy/v1"

DEFAULT_PATH = Path(policies.__file__).with_name("sweep.toml")

#: A larger file is refused; a policy with all its comments takes a few kilobytes.
MAX_FILE_BYTES = 64 << 10

#: All detectors that there are; a policy states a weight and a number of requests for each.
DETECTORS = (
    *("preflight/1", "border-greedy/1", "border-seeded/1", "replay/1"),
    *("logprob-kl/1", "logprob-tracking/1", "logprob-binding/1"),
    *("conformal-rank/1", "text-mmd/1", "candidate-ratio/1"),
    *("one-token-cells/1", "provider-compare/1", "text-classifier/1"),
)


class OverRuns(StrEnum):
    """What the false-alarm rate of a repeated sweep is promised for."""

    EACH_RUN = "each_run"
    ALL_RUNS = "all_runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRule:
    """A detector's part in the common evidence."""

    detector: str
    weight: float
    """0 keeps it out of the evidence."""
    num_probes: int
    """Requests of a run, unless a sweep says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRules:
    """When a history of runs counts as a change."""

    baseline_runs: int
    tolerance_ratio: float
    """Rates up to so many times the baseline's bound are no change."""
    min_tolerated_rate: float
    arl_runs: int
    """Mean number of runs to a false alarm at least, all detectors together."""
    confirm_runs: int
    alternation_runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPolicy:
    """The rules behind the findings of a sweep; rates and shares are fractions of 1."""

    name: str
    version: int
    false_alarm_rate: float
    calibration_share: float
    """Part of the false-alarm rate that pays for the calibrations' own uncertainty."""
    over_runs: OverRuns
    false_discovery_rate: float
    min_share: float
    """A share of diverted requests that is surely below this ends the asking."""
    share_confidence: float
    must_see: tuple[str, ...]
    """Attacks that a run must have been able to see to call an endpoint consistent."""
    max_blind_share: float
    power: float
    excluded_variants: tuple[str, ...]
    min_margin_nats: float
    """By which a named explanation must be likelier than the next one."""
    informative_checks: tuple[str, ...]
    detectors: tuple[DetectorRule, ...]
    """One for each of `DETECTORS`, in that order."""
    drift: DriftRules

    @property
    def policy_id(self) -> str:
        """Return `sha256:<hex>` of the content as RFC 8785 JSON."""
        return f"sha256:{hashlib.sha256(rfc8785.dumps(self.content())).hexdigest()}"

    @property
    def calibration_rate(self) -> float:
        """The chance, once for all runs, that a calibration's bound is wrong and accuses."""
        return self.false_alarm_rate * self.calibration_share

    def test_rate(self, run_number: int) -> float:
        """Return the false-alarm rate left for the test of one run; the first run is number 1.

        Raises: InvalidRequest for a number below 1.
        """
        if run_number < 1:
            raise InvalidRequest.of("run_number", "must be 1 for the first run of a sweep")
        rate = self.false_alarm_rate - self.calibration_rate
        if self.over_runs is OverRuns.EACH_RUN:
            return rate
        # the reciprocal squares of all whole numbers sum to pi^2 / 6
        return rate * 6.0 / (math.pi * run_number) ** 2

    def log_threshold_nats(self, run_number: int) -> float:
        """Return the log e-value at which one run accuses an endpoint."""
        return -math.log(self.test_rate(run_number))

    def rule_of(self, detector: str) -> DetectorRule:
        """Return a detector's rule. Raises: InvalidRequest where there is no such detector."""
        for rule in self.detectors:
            if rule.detector == detector:
                return rule
        known = ", ".join(DETECTORS)
        raise InvalidRequest.of("detector", f"{detector!r} is not known; known are: {known}")

    def calibration_error(self, detector: str) -> float:
        """Return the chance at which a detector's honest bounds may be wrong; all sum to the rate.

        Detectors without weight accuse nobody and get the smallest share of those with one.
        Raises: InvalidRequest where there is no such detector.
        """
        weights = [rule.weight for rule in self.detectors if rule.weight > 0]
        weight = self.rule_of(detector).weight or min(weights)
        return self.calibration_rate * weight / math.fsum(weights)

    def content(self) -> dict[str, Any]:
        """Return what a file of this policy states, parsed; the id is its digest."""
        drift = self.drift
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "errors": {
                "false_alarm_rate": self.false_alarm_rate,
                "calibration_share": self.calibration_share,
                "over_runs": self.over_runs.value,
                "false_discovery_rate": self.false_discovery_rate,
            },
            "share": {"min_share": self.min_share, "confidence": self.share_confidence},
            "consistent": {
                "must_see": list(self.must_see),
                "max_blind_share": self.max_blind_share,
            },
            "power": {"target": self.power},
            "claim": {"excluded_variants": list(self.excluded_variants)},
            "explanation": {"min_margin_nats": self.min_margin_nats},
            "preflight": {"informative_checks": list(self.informative_checks)},
            "detectors": {
                rule.detector: {"weight": rule.weight, "num_probes": rule.num_probes}
                for rule in self.detectors
            },
            "drift": {name: getattr(drift, name) for name in DriftRules.__slots__},
        }


def load_sweep_policy(path: Path | None = None) -> SweepPolicy:
    """Return the policy of a TOML file, or the bundled one. Raises: ConfigurationError."""
    source = DEFAULT_PATH if path is None else path
    document = _parse(_read(source), source)
    if document.get("format") != FORMAT:
        raise ConfigurationError(
            f'{source} is no sweep policy: it lacks the line format = "{FORMAT}"; start from a '
            f"copy of {DEFAULT_PATH}"
        )
    return _policy(PolicyTable(source, "", document))


def _read(source: Path) -> str:
    try:
        with source.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the sweep policy {source}: {error.strerror}; name a TOML file"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(
            f"{source} is larger than any policy ({MAX_FILE_BYTES >> 10} KiB); name another file"
        )
    try:
        # some editors put a byte-order mark first
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the sweep policy {source} is no UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def _parse(text: str, source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError(
            f"the sweep policy {source} is nested too deeply; start from a copy of {DEFAULT_PATH}"
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"the sweep policy {source} is not valid TOML: {error}; mend that place"
        ) from error


def _policy(root: PolicyTable) -> SweepPolicy:
    root.only(
        *("format", "name", "version", "errors", "share", "consistent", "power", "claim"),
        *("explanation", "preflight", "detectors", "drift"),
    )
    errors = root.table("errors").only(
        "false_alarm_rate", "calibration_share", "over_runs", "false_discovery_rate"
    )
    share = root.table("share").only("min_share", "confidence")
    consistent = root.table("consistent").only("must_see", "max_blind_share")
    return SweepPolicy(
        name=root.text("name"),
        version=root.whole("version", 1),
        false_alarm_rate=errors.number("false_alarm_rate", 1e-9, 0.5),
        calibration_share=errors.number("calibration_share", 0.01, 0.9),
        over_runs=OverRuns(errors.choice("over_runs", tuple(OverRuns))),
        false_discovery_rate=errors.number("false_discovery_rate", 1e-9, 0.5),
        min_share=share.number("min_share", 1e-6, 1.0),
        share_confidence=share.number("confidence", 0.5, 0.999999),
        must_see=consistent.names("must_see"),
        max_blind_share=consistent.number("max_blind_share", 1e-6, 1.0),
        power=root.table("power").only("target").number("target", 0.5, 0.999),
        excluded_variants=root.table("claim").only("excluded_variants").names("excluded_variants"),
        min_margin_nats=root.table("explanation")
        .only("min_margin_nats")
        .number("min_margin_nats", 0.0, 100.0),
        informative_checks=root.table("preflight")
        .only("informative_checks")
        .names("informative_checks"),
        detectors=_detectors(root.table("detectors").only(*DETECTORS)),
        drift=_drift(root.table("drift").only(*DriftRules.__slots__)),
    )


def _detectors(table: PolicyTable) -> tuple[DetectorRule, ...]:
    rules = []
    for detector in DETECTORS:
        stated = table.table(detector).only("weight", "num_probes")
        rules.append(
            DetectorRule(
                detector=detector,
                weight=stated.number("weight", 0.0, 1e6),
                num_probes=stated.whole("num_probes", 0),
            )
        )
    if not any(rule.weight for rule in rules):
        table.refuse("", "must give one detector at least a weight above 0")
    return tuple(rules)


def _drift(table: PolicyTable) -> DriftRules:
    return DriftRules(
        baseline_runs=table.whole("baseline_runs", 1),
        tolerance_ratio=table.number("tolerance_ratio", 1.0, 100.0),
        min_tolerated_rate=table.number("min_tolerated_rate", 1e-6, 0.9),
        arl_runs=table.whole("arl_runs", 2),
        confirm_runs=table.whole("confirm_runs", 1),
        alternation_runs=table.whole("alternation_runs", 1),
    )
