"""From evidence to verdict: how surprising an answer is for any honest provider.

The steps, numbered as in the code:

1. Find the honest traffic of the same kind; without it, INCONCLUSIVE. 2. Of the candidate profiles,
take the one that speaks least against the provider. That can only help it, so it cannot raise the
false-alarm rate. 3. Compare the e-process with its threshold. 4. State what could have been seen.
Where that is next to nothing, INCONCLUSIVE instead of a bare pass. 5. A FAIL must not rest on a
server default that had to be assumed; then INCONCLUSIVE.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from audit.errors import CannotJudge
from audit.findings import AttackPower, Growth
from audit.judge.alternatives import EvidenceLaw
from audit.judge.calibration import Calibration, Stratum, StratumKey
from audit.judge.calls import Calls, read_calls
from audit.judge.deviation import mean_clipped_margin
from audit.judge.eprocess import ExchangeEvidence, weigh
from audit.judge.growth import least_growth
from audit.judge.noise import estimate_noise, log_likelihood_G
from audit.judge.policy import Policy
from audit.judge.power import PowerTable
from audit.judge.questions import question_digest
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
from reference_runner.errors import CheckpointError
from reference_runner.precision import CHECKPOINT_PRECISION, normal_precision
from reference_runner.records import Evidence

STATISTIC_NAME = "conditional_e_process"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """One candidate profile's evidence, weighed."""

    evidence: Evidence
    stratum: Stratum
    calls: Calls
    weight: ExchangeEvidence


class ConditionalJudge:
    """Judges exchanges by the e-process of their calls, given how close each call was.

    Without a calibration every verdict is INCONCLUSIVE.
    """

    def __init__(
        self,
        calibration: Calibration | None,
        policy: Policy,
        *,
        version: str,
        power: PowerTable | None = None,
    ) -> None:
        self._calibration = calibration
        self._policy = policy
        self._version = version
        self._power = power
        self._laws = {} if calibration is None else evidence_laws(calibration, policy)

    def __call__(self, measured: Measurement) -> Examination:
        """Return the verdict on one exchange, with the evidence of the profile it rests on."""
        try:
            weighed, others, is_complete = self._best(measured)
        except CannotJudge as error:
            evidence = min(measured.evidences, key=mean_clipped_margin)
            verdict = _undecided(measured, evidence, self._version)
            return Examination(
                verdict=_not_judged(verdict, error.reason, str(error)), evidence=evidence
            )
        return Examination(
            verdict=self._decide(measured, weighed),
            evidence=weighed.evidence,
            growth=self._growth(measured, (weighed, *others)) if is_complete else None,
        )

    def _best(self, measured: Measurement) -> tuple[_Weighed, list[_Weighed], bool]:
        """Return the candidate that counts, the others, and whether a provider may FAIL by them."""
        candidates: list[_Weighed] = []
        refusals: list[CannotJudge] = []
        for evidence in measured.evidences:
            try:
                # 1. honest traffic of the same kind
                candidates.append(self._weigh(measured, evidence))
            except CannotJudge as error:
                refusals.append(error)
        # 2. the candidate that speaks least against the provider
        best = min(candidates, key=lambda c: c.weight.peak_log_e_nats, default=None)
        is_failed = best is None or best.weight.peak_log_e_nats >= self._policy.log_threshold_nats
        if refusals and is_failed:
            # a candidate that nobody calibrated may be the one that explains the tokens
            raise refusals[0]
        if best is None:
            raise CannotJudge(Reason.PROFILE_UNKNOWN, "no sampler profile was replayed")
        others = [candidate for candidate in candidates if candidate is not best]
        return best, others, not refusals and not measured.plan.assumed_parameters

    def _weigh(self, measured: Measurement, evidence: Evidence) -> _Weighed:
        if self._calibration is None:
            raise CannotJudge(
                Reason.UNCALIBRATED,
                "no calibration was given, so nobody knows how far honest answers lie; make one "
                "with `inference-audit calibrate` from honest traffic",
            )
        _check_precision(measured, self._policy)
        stratum = self._calibration.stratum_for(
            measured.plan,
            evidence.profile_id,
            measured.info.precision,
            measured.info.model_digest,
            self._policy.min_variants,
        )
        calls = read_calls(evidence, measured.plan.sequence)
        return _Weighed(
            evidence=evidence,
            stratum=stratum,
            calls=calls,
            weight=weigh(calls, self._laws[stratum.key]),
        )

    def _decide(self, measured: Measurement, weighed: _Weighed) -> Verdict:
        # 3. the comparison
        threshold = self._policy.log_threshold_nats
        peak = weighed.weight.peak_log_e_nats
        failed = peak >= threshold
        # 4. what could have been seen
        verdict = self._described(measured, weighed)
        if not failed:
            blind = self._blindness(verdict)
            if blind is not None:
                return _not_judged(verdict, Reason.TOO_FEW_TOKENS, blind)
            return replace(verdict, outcome=Outcome.PASS)
        # 5. nothing assumed may decide
        assumed = measured.plan.assumed_parameters
        if assumed:
            return _not_judged(
                verdict,
                Reason.PARAMETER_MISSING,
                f"the tokens differ, but {', '.join(assumed)} had to be assumed; state them in the "
                "request",
            )
        return replace(
            verdict,
            outcome=Outcome.FAIL,
            reasons=(Reason.TOKEN_DIVERGENCE,),
            details=(_why_failed(weighed, threshold, self._policy),),
        )

    def _described(self, measured: Measurement, weighed: _Weighed) -> Verdict:
        policy = self._policy
        attacks: tuple[AttackPower, ...] = ()
        kind, threshold = str(weighed.stratum.key), policy.log_threshold_nats / math.log(10)
        if self._power is not None and self._power.applies_to(kind, threshold):
            attacks = self._power.at(weighed.calls.num_tokens, policy.power_target)
        return replace(
            _undecided(measured, weighed.evidence, self._version),
            calibration_id=None if self._calibration is None else self._calibration.calibration_id,
            policy_id=policy.policy_id,
            log10_e_value=weighed.weight.peak_log_e_nats / math.log(10),
            noise=estimate_noise(log_likelihood_G(weighed.calls)),
            sensitivity=measure_sensitivity(
                weighed.calls,
                self._laws[weighed.stratum.key],
                threshold_nats=policy.log_threshold_nats,
                power=policy.power_target,
                attacks=attacks,
            ),
            statistics=(_statistic(weighed, policy),),
        )

    def _blindness(self, verdict: Verdict) -> str | None:
        """Return why a pass would say nothing, or None."""
        policy = self._policy
        seen = verdict.sensitivity
        share = None if seen is None else seen.substituted_token_share
        if verdict.num_tokens < policy.min_tokens:
            return (
                f"{verdict.num_tokens} tokens are fewer than the {policy.min_tokens} that the "
                "policy asks for; send a longer answer"
            )
        if share is None or share > policy.max_blind_share:
            advice = "send a longer answer" if verdict.num_tokens < 100 else "calibrate with more"
            return (
                f"{verdict.num_tokens} tokens could not have shown even "
                f"{policy.max_blind_share:.0%} of them replaced; {advice}"
            )
        return None

    def _growth(self, measured: Measurement, candidates: Sequence[_Weighed]) -> Growth:
        return least_growth([self._reading(measured, candidate) for candidate in candidates])

    def _reading(self, measured: Measurement, weighed: _Weighed) -> Growth:
        weight = weighed.weight
        return Growth(
            num_tokens=weighed.calls.num_tokens,
            num_mismatches=weighed.evidence.num_tokens - weighed.evidence.num_matches,
            log_e_nats_K=tuple(float(x) for x in weight.log_e_nats_K),
            log_e_nats=weight.log_e_nats,
            log_likelihood_G=tuple(float(x) for x in log_likelihood_G(weighed.calls)),
            is_tell=weight.peak_log_e_nats >= -math.log(self._policy.tell_rate),
            exchange_digest=question_digest(measured.plan.sequence),
            honest_noise_logits=weighed.stratum.noise_logits,
        )


def _check_precision(measured: Measurement, policy: Policy) -> None:
    claimed, replayed = measured.plan.claimed_precision, measured.info.precision
    if claimed is None or policy.accepts_precision(replayed, _normal(claimed, replayed)):
        return
    raise CannotJudge(
        Reason.OUTSIDE_POLICY,
        f"the provider claims {claimed}, the reference ran at {replayed}, which the policy does "
        "not tolerate; leave out --dtype, or name it under tolerated_precisions",
    )


def _normal(claimed: str, replayed: str) -> str:
    try:
        normal = normal_precision(claimed)
    except CheckpointError:
        return claimed
    # the checkpoint's own precision is claimed, and nothing overrode it where the two agree
    return replayed if normal == CHECKPOINT_PRECISION else normal


def evidence_laws(calibration: Calibration, policy: Policy) -> dict[StratumKey, EvidenceLaw]:
    """Return the law of each kind of exchange; their bounds all hold together.

    The policy's share of the error is split evenly over the kinds.
    """
    error = policy.calibration_rate / max(1, len(calibration.strata))
    return {stratum.key: EvidenceLaw(stratum.bounds(error)) for stratum in calibration.strata}


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


def _why_failed(weighed: _Weighed, threshold_nats: float, policy: Policy) -> str:
    weight, evidence = weighed.weight, weighed.evidence
    odds = math.exp(min(weight.peak_log_e_nats, 600.0))
    return (
        f"{evidence.num_tokens - evidence.num_matches} of {evidence.num_tokens} tokens are not "
        "what the claimed model would have drawn, where its calls were too clear for honest "
        f"arithmetic to turn them: evidence of {odds:.3g} to 1 after {weight.peak_token} tokens, "
        f"{math.exp(threshold_nats):.3g} to 1 suffices. An honest provider is failed with "
        f"probability {policy.false_alarm_rate:g} at most"
    )


def _statistic(weighed: _Weighed, policy: Policy) -> Statistic:
    return Statistic(
        name=STATISTIC_NAME,
        value=weighed.weight.peak_log_e_nats / math.log(10),
        threshold=policy.log_threshold_nats / math.log(10),
        num_tokens=weighed.calls.num_tokens,
        unit="log10 of the e-value",
        false_alarm_rate=policy.false_alarm_rate,
    )
