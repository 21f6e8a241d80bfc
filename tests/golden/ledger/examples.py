"""Fixed jobs, verdicts and keys from which every golden and malformed envelope is made."""

from cryptography.hazmat.primitives.asymmetric import ec

from audit.ledger.keys import SigningKey
from audit.ledger.seal import seal
from audit.ledger.statement import build_statement
from audit.log_records import Artifact, ChainLink, EntryKind, Receipt, SealedEntry
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Job,
    Outcome,
    Output,
    Prompt,
    ProviderClaims,
    Reason,
    RunnerBuild,
    SamplingRequest,
    Sensitivity,
    Statistic,
    Timing,
    Verdict,
)

VERIFIED_AT = "2026-01-02T03:04:05.678901Z"
VERSION = "0.1.0"
#: These words must never reach a signed statement.
SECRET_PROMPT = "the prompt stays private"  # noqa: S105  a marker to search for
SECRET_ANSWER = "and so does the answer"  # noqa: S105


def key_of(scalar: int) -> SigningKey:
    """Return a test key; anyone can compute it, so it protects nothing."""
    return SigningKey.of(ec.derive_private_key(scalar, ec.SECP256R1()))


KEY = key_of(20260102)
OTHER_KEY = key_of(20260103)
CHAIN = ChainLink(tenant="default", sequence=3, previous_digest="sha256:" + "44" * 32)
INTENT = Receipt(log_index=40, entry_digest="sha256:" + "33" * 32)
ARTIFACT = Artifact(
    digest="sha256:" + "55" * 32,
    media_type="application/vnd.inference-audit.tokens.v1+json",
    content=b"",
)


def example_job() -> Job:
    """Return a job that states everything a statement can show."""
    exchange = Exchange(
        prompt=Prompt(text=SECRET_PROMPT),
        output=Output(text=SECRET_ANSWER, token_ids=(987_654, 987_655)),
        sampling=SamplingRequest(temperature=0.7, top_p=0.95, seed=2**63 - 1),
        timing=Timing(started_at="2026-01-02T03:00:00Z"),
        provider=ProviderClaims(provider="example", endpoint="https://api.example.org/v1"),
    )
    claim = Claim(
        model="example-org/tiny",
        weights_digest="sha256:" + "11" * 32,
        precision="bfloat16",
        sampler_profile="vllm-gumbel-v1",
    )
    request = AuditRequest(request_id="request-1", exchange=exchange, claim=claim)
    return Job(audit_id="audit-1", request=request, request_digest="sha256:" + "22" * 32, attempt=1)


def example_entry(
    verdict: Verdict, *, chain: ChainLink = CHAIN, intent: Receipt | None = INTENT
) -> SealedEntry:
    """Return a verdict as it goes into the log."""
    statement = build_statement(
        example_job(),
        verdict,
        verified_at=VERIFIED_AT,
        verifier_version=VERSION,
        chain=chain,
        intent=intent,
        evidence=(ARTIFACT,),
    )
    return seal(
        statement,
        KEY,
        kind=EntryKind.VERDICT,
        chain=chain,
        entry_key="verdict:audit-1",
        audit_id="audit-1",
    )


def passed() -> Verdict:
    """Return a PASS with every field set."""
    return Verdict(
        outcome=Outcome.PASS,
        notes=("top_k was not stated; the server's default was assumed.",),
        profile_id="vllm-gumbel-v1",
        precision="bfloat16",
        num_tokens=128,
        num_matches=127,
        mean_clipped_margin_logits=1.5e-07,
        statistics=(_statistic(value=0.0078125),),
        sensitivity=Sensitivity(
            power=0.9,
            logit_noise_logits=0.25,
            substituted_token_share=None,
            statement="Noise of 0.25 logits would have been failed nine times in ten: \u2265 90 %.",
        ),
        calibration_id="tiny-bf16-2026-01",
        model_digest="sha256:" + "11" * 32,
        runner=RunnerBuild(
            version=VERSION,
            device="cpu",
            num_threads=2,
            libraries=(("torch", "2.7.0"), ("python", "3.11.7")),
        ),
    )


def failed() -> Verdict:
    """Return a FAIL with its reason."""
    return Verdict(
        outcome=Outcome.FAIL,
        reasons=(Reason.TOKEN_DIVERGENCE,),
        details=("37 of 128 tokens are not what the claimed model would have sampled.",),
        num_tokens=128,
        num_matches=91,
        statistics=(_statistic(value=0.2890625),),
    )


def inconclusive() -> Verdict:
    """Return an INCONCLUSIVE with nothing measured."""
    return Verdict(
        outcome=Outcome.INCONCLUSIVE,
        reasons=(Reason.UNCALIBRATED,),
        details=("No calibration for this model: make one, then submit again.",),
    )


def _statistic(*, value: float) -> Statistic:
    return Statistic(
        name="mismatch_share",
        value=value,
        threshold=0.03125,
        num_tokens=128,
        unit="share",
        false_alarm_rate=0.01,
    )
