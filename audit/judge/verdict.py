"""From evidence to verdict: the mean clipped margin against a calibrated threshold.

The steps, numbered as in the code:

1. Of the candidate profiles, take the one that explains the tokens best. That can only help the
provider, so it cannot raise the false-alarm rate. 2. Find the honest traffic of the same kind;
without it, INCONCLUSIVE. 3. Compare the mean clipped margin with the threshold at this number of
tokens. 4. State what could have been seen. Where that is next to nothing, INCONCLUSIVE instead of a
bare pass. 5. A FAIL must not rest on a server default that had to be assumed; then INCONCLUSIVE.
"""

from dataclasses import replace

from audit.errors import CannotJudge
from audit.judge.calibration import Calibration, StratumKey
from audit.judge.deviation import mean_clipped_margin
from audit.judge.null_law import NullLaw
from audit.judge.sensitivity import measure_sensitivity
from audit.records import (
    Examination,
    Measurement,
    Outcome,
    Reason,
    RunnerBuild,
    Statistic,
    Verdict,
)
from reference_runner.records import Evidence

#: A pass that would not mostly have seen even this share of tokens replaced says nothing.
MAX_BLIND_SHARE = 0.5

STATISTIC_NAME = "mean_clipped_margin"


class DivergenceJudge:
    """Judges exchanges by Token-DiFR's statistic.

    Without a calibration every verdict is INCONCLUSIVE.
    """

    def __init__(self, calibration: Calibration | None, *, version: str) -> None:
        self._calibration = calibration
        self._version = version
        self._laws = {} if calibration is None else null_laws(calibration)

    def __call__(self, measured: Measurement) -> Examination:
        """Return the verdict on one exchange, with the evidence of the profile it rests on."""
        # 1. the candidate that explains most
        evidence = min(measured.evidences, key=lambda e: (mean_clipped_margin(e), -e.num_matches))
        verdict = _undecided(measured, evidence, self._version)
        try:
            verdict = self._decide(verdict, measured, evidence)
        except CannotJudge as error:
            verdict = _not_judged(verdict, error.reason, str(error))
        return Examination(verdict=verdict, evidence=evidence)

    def _decide(self, verdict: Verdict, measured: Measurement, evidence: Evidence) -> Verdict:
        plan, info = measured.plan, measured.info
        # 2. honest traffic of the same kind
        calibration = self._calibration
        if calibration is None:
            raise CannotJudge(
                Reason.UNCALIBRATED,
                "no calibration was given, so nobody knows how far honest answers lie; make one "
                "with "
                "`inference-audit calibrate` from honest traffic",
            )
        stratum = calibration.stratum_for(
            plan, evidence.profile_id, info.precision, info.model_digest
        )
        # 3. the comparison
        mean = mean_clipped_margin(evidence)
        threshold = self._laws[stratum.key].threshold(evidence.num_tokens)
        failed = mean > threshold
        # 4. what could have been seen
        sensitivity = measure_sensitivity(evidence, threshold)
        verdict = replace(
            verdict,
            calibration_id=calibration.calibration_id,
            sensitivity=sensitivity,
            statistics=(_statistic(mean, threshold, evidence, calibration),),
        )
        share = sensitivity.substituted_token_share
        if not failed and (share is None or share > MAX_BLIND_SHARE):
            advice = "send a longer answer" if evidence.num_tokens < 100 else "calibrate anew"
            return _not_judged(
                verdict,
                Reason.TOO_FEW_TOKENS,
                f"{evidence.num_tokens} tokens could not have shown even half of them replaced; "
                f"{advice}",
            )
        if not failed:
            return replace(verdict, outcome=Outcome.PASS)
        # 5. nothing assumed may decide
        if plan.assumed_parameters:
            return _not_judged(
                verdict,
                Reason.PARAMETER_MISSING,
                f"the tokens differ, but {', '.join(plan.assumed_parameters)} had to be "
                "assumed; state them in the "
                "request",
            )
        detail = (
            f"the answer lies {mean:.3g} logits a token from what the claimed model would have "
            "drawn; honest answers "
            f"of {evidence.num_tokens} tokens stay below {threshold:.3g} in all but "
            f"{100 * calibration.false_alarm_rate:g} % of cases"
        )
        return replace(
            verdict, outcome=Outcome.FAIL, reasons=(Reason.TOKEN_DIVERGENCE,), details=(detail,)
        )


def null_laws(calibration: Calibration) -> dict[StratumKey, NullLaw]:
    """Return the honest law of each kind of exchange that the calibration covers."""
    return {
        stratum.key: NullLaw(
            stratum.exchanges,
            precision=stratum.key.precision,
            rate=calibration.false_alarm_rate,
            confidence=calibration.confidence,
        )
        for stratum in calibration.strata
    }


def _undecided(measured: Measurement, evidence: Evidence, version: str) -> Verdict:
    info = measured.info
    return Verdict(
        outcome=Outcome.INCONCLUSIVE,
        notes=measured.plan.notes,
        profile_id=evidence.profile_id,
        precision=info.precision,
        num_tokens=evidence.num_tokens,
        num_matches=evidence.num_matches,
        mean_clipped_margin_logits=mean_clipped_margin(evidence),
        model_digest=info.model_digest,
        runner=RunnerBuild(
            version=version,
            device=info.device,
            num_threads=info.num_threads,
            libraries=info.libraries,
        ),
    )


def _not_judged(verdict: Verdict, reason: Reason, detail: str) -> Verdict:
    return replace(
        verdict, outcome=Outcome.INCONCLUSIVE, reasons=(reason,), details=(*verdict.details, detail)
    )


def _statistic(
    mean: float, threshold: float, evidence: Evidence, calibration: Calibration
) -> Statistic:
    return Statistic(
        name=STATISTIC_NAME,
        value=mean,
        threshold=threshold,
        num_tokens=evidence.num_tokens,
        unit="logits",
        false_alarm_rate=calibration.false_alarm_rate,
    )
