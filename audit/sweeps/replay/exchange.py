"""From a probe with its answer to what the judge needs: an exchange, replayed and weighed.

Whatever cannot be judged is told in a sentence; it adds nothing to the evidence.
"""

import hashlib
from dataclasses import dataclass

from audit.errors import CannotJudge
from audit.findings import Growth
from audit.judge.calls import Calls, read_calls
from audit.judge.verdict import ConditionalJudge
from audit.planning import plan_replay
from audit.ports import ProbeReference, Reference
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Measurement,
    Output,
    ProviderClaims,
    Reason,
    SamplingRequest,
    Usage,
)
from audit.sweep_records import Endpoint, Probed
from audit.sweeps.probe import canonical_text
from audit.sweeps.replay.plan import knows_sampler
from reference_runner.errors import BadSequence, UnsupportedProfile
from reference_runner.records import Evidence, ReplayBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One answer after replay and judgement."""

    growth: Growth | None
    """None where the answer could not be judged."""
    measured: Measurement | None = None
    evidence: Evidence | None = None
    """Under the profile that the judgement rests on."""
    calls: Calls | None = None
    problem: str = ""
    """Why not, where it could not."""
    is_uncalibrated: bool = False
    text_differs: bool = False
    """Whether token ids and text of the answer are not the same."""


def as_request(endpoint: Endpoint, claim: Claim, probed: Probed) -> AuditRequest:
    """Return a probe and its answer as an exchange to be audited."""
    probe, answer = probed.probe, probed.answer
    prompt = probe.prompt
    sampling = probe.sampling
    return AuditRequest(
        request_id=probe.probe_id,
        exchange=Exchange(
            prompt=type(prompt)(
                token_ids=prompt.token_ids,
                text=prompt.text,
                messages=prompt.messages,
                echoed_token_ids=answer.prompt_token_ids,
            ),
            output=Output(
                token_ids=answer.token_ids, text=answer.text, finish_reason=answer.finish_reason
            ),
            sampling=SamplingRequest(
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                seed=sampling.seed,
                max_tokens=sampling.max_tokens,
                stated_neutral=("min_p", "repetition_penalty"),
            ),
            usage=Usage(
                prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens
            ),
            provider=ProviderClaims(
                endpoint=endpoint.base_url,
                engine=endpoint.engine,
                engine_version=endpoint.engine_version,
                device=endpoint.device,
            ),
        ),
        claim=claim,
    )


def weigh_answer(
    endpoint: Endpoint,
    claim: Claim,
    probed: Probed,
    reference: ProbeReference,
    judge: ConditionalJudge,
) -> Weighed:
    """Return what an answer adds to the evidence, or why it adds nothing."""
    try:
        measured = _measure(endpoint, claim, probed, reference)
    except (CannotJudge, BadSequence, UnsupportedProfile) as error:
        return Weighed(growth=None, problem=str(error))
    examination = judge(measured)
    evidence, verdict = examination.evidence, examination.verdict
    if examination.growth is None or evidence is None:
        reasons = (Reason.UNCALIBRATED, Reason.OUTSIDE_CALIBRATION, Reason.CALIBRATION_TOO_NARROW)
        return Weighed(
            growth=None,
            problem=" ".join(verdict.details) or "the judge took nothing from it",
            is_uncalibrated=any(reason in reasons for reason in verdict.reasons),
        )
    return Weighed(
        growth=examination.growth,
        measured=measured,
        evidence=evidence,
        calls=read_calls(evidence, measured.plan.sequence),
        text_differs=_text_differs(probed, reference),
    )


def answer_key(endpoint: Endpoint, probed: Probed) -> str:
    """Return a digest of everything that the weighing of an answer rests on."""
    answer = probed.answer
    members = {
        "profile": endpoint.sampler_profile,
        "engine": [endpoint.engine, endpoint.engine_version, endpoint.device],
        "probe": probed.probe.probe_id,
        "ids": None if answer.token_ids is None else list(answer.token_ids),
        "prompt": None if answer.prompt_token_ids is None else list(answer.prompt_token_ids),
        "text": answer.text,
        "billed": [answer.prompt_tokens, answer.completion_tokens],
    }
    return hashlib.sha256(canonical_text(members).encode()).hexdigest()


def replay_again(measured: Measurement, reference: Reference) -> Evidence:
    """Return the evidence of the same tokens on another model, under the profile that fits best.

    Raises: BadSequence.
    """
    (evidences,) = reference.replay(ReplayBatch(sequences=(measured.plan.sequence,)))
    return max(evidences, key=lambda evidence: evidence.num_matches)


def _measure(
    endpoint: Endpoint, claim: Claim, probed: Probed, reference: ProbeReference
) -> Measurement:
    request = as_request(endpoint, claim, probed)
    profile = endpoint.sampler_profile
    if profile is None and claim.sampler_profile is None and not knows_sampler(endpoint):
        # whoever samples, the best token is the best token
        profile = "greedy"
    plan = plan_replay(request, reference, profile)
    if not plan.sequence.output_token_ids:
        raise CannotJudge(Reason.OUTPUT_EMPTY, "the answer holds no token")
    (evidences,) = reference.replay(ReplayBatch(sequences=(plan.sequence,)))
    return Measurement(plan=plan, evidences=evidences, info=reference.info)


def _text_differs(probed: Probed, reference: ProbeReference) -> bool:
    answer = probed.answer
    if answer.token_ids is None or answer.text is None:
        return False
    # servers strip spaces and unfinished characters at the ends
    spelled = reference.decode(answer.token_ids).strip(" \ufffd\n")
    return spelled != answer.text.strip(" \ufffd\n")
