"""The auditor's side: check signature, count and openings, and replay what was opened.

A leaf can be opened in one way only, and tokens that were billed but never committed to cannot be
opened at all; `challenge.detection_probability` says how likely one of them is asked for. What the
tokens are is only as good as the replay: a token fails it where the reference's own sampler, with
the same seed, would have had to change a logit by more than engines differ. A provider that lets
the model think on passes, and so does one that repeats what the model itself would repeat.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from audit.billing_records import BilledRequest, Refusal, Tier, Unchecked, Violation
from audit.errors import InvalidRequest
from audit.hidden_tokens.commitment.challenge import Challenge
from audit.hidden_tokens.commitment.prover import SignedCount
from audit.hidden_tokens.commitment.tree import RunOpening, verify_run
from audit.ledger.keys import load_public_key
from audit.ledger.merkle import ProofError
from audit.ports import Reference
from reference_runner.errors import BadSequence
from reference_runner.records import Evidence, ReplayBatch, ReplaySequence, Sampling

IsSignedBy = Callable[[bytes, bytes], bool]
"""(message, signature) -> whether the provider's key made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentCheck:
    """What a commitment says about one bill."""

    violations: tuple[Violation, ...] = ()
    checked: tuple[str, ...] = ()
    """Identities that were checked and hold."""
    unchecked: tuple[Unchecked, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayTerms:
    """How the hidden tokens are said to have been drawn."""

    prompt_token_ids: tuple[int, ...]
    sampling: Sampling
    profile_id: str
    max_lost_logits: float = 0.5
    """A token that lost by more was not drawn.

    Of the bundled recordings, honest sampled tokens lost 0.11 at most (15,935 in bfloat16, vLLM and
    transformers) or nothing (8,188 in float32); every chain that was padded by a twentieth held one
    that lost more than 2.
    """


def p256_signer(public_key_pem: bytes) -> IsSignedBy:
    """Return the check of ECDSA P-256 signatures over SHA-256. Raises: ConfigurationError."""
    key = load_public_key(public_key_pem, "the provider's key")

    def is_signed_by(message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    return is_signed_by


def check_statement(
    request: BilledRequest, signed: SignedCount, is_signed_by: IsSignedBy
) -> CommitmentCheck:
    """Check that the provider committed itself to this request, and to the billed count.

    Call it before the nonce is made: what fails here is not worth a challenge.
    """
    statement, billed = signed.statement, request.usage.reasoning_tokens
    if not is_signed_by(statement.to_bytes(), signed.signature):
        return _unread("the provider's key did not sign the commitment")
    subject = (statement.request_id, statement.provider, statement.model)
    if subject != (request.request_id, request.provider, request.model):
        return _unread("the commitment is about another request, provider or model")
    if billed is None:
        return _unread("no reasoning count was billed", Refusal.NO_COUNT)
    if billed != statement.num_tokens:
        sentence = (
            f"{billed} reasoning tokens were billed, the provider committed itself to "
            f"{statement.num_tokens}"
        )
        return _violated("commitment_count", sentence, billed - statement.num_tokens)
    return CommitmentCheck(checked=("commitment_count",))


def check_openings(
    signed: SignedCount, challenge: Challenge, openings: Sequence[RunOpening]
) -> CommitmentCheck:
    """Check that each run of the challenge was opened, and is in the committed tree."""
    by_run = {(opening.start, opening.end): opening for opening in openings}
    for start, end in challenge.runs:
        opening = by_run.get((start, end))
        if opening is None:
            return _violated(
                "commitment_opening", f"the hidden tokens [{start}, {end}) were not opened"
            )
        try:
            verify_run(opening, num_tokens=signed.statement.num_tokens, root=signed.statement.root)
        except (ProofError, InvalidRequest) as error:
            return _violated(
                "commitment_opening",
                f"the opening of [{start}, {end}) does not fit the commitment: {error}",
            )
    return CommitmentCheck(checked=("commitment_opening",) if challenge.runs else ())


def check_replay(
    openings: Sequence[RunOpening], terms: ReplayTerms, reference: Reference
) -> CommitmentCheck:
    """Replay the longest opened run that begins at the first hidden token.

    Call it after `check_openings` passed. Raises: UnsupportedProfile.
    """
    from_start = [opening for opening in openings if opening.start == 0 and opening.tokens]
    longest = max(from_start, key=lambda opening: opening.end, default=None)
    if longest is None:
        return _unread("no opened run begins at the first hidden token", Refusal.NO_EVIDENCE)
    sequence = ReplaySequence(
        prompt_token_ids=terms.prompt_token_ids,
        output_token_ids=longest.token_ids,
        sampling=terms.sampling,
        profile_ids=(terms.profile_id,),
    )
    try:
        ((evidence,),) = reference.replay(ReplayBatch(sequences=(sequence,)))
    except BadSequence as error:
        if error.code == "token_out_of_vocabulary":
            return _violated(
                "commitment_replay", f"an opened token is none of the model's: {error}"
            )
        return _unread(f"the opened tokens cannot be replayed: {error}")
    return _judge(evidence, terms.max_lost_logits)


def _judge(evidence: Evidence, max_lost_logits: float) -> CommitmentCheck:
    # a filter removes its border token by rounding too; its margin says whether it was close
    lost_R = (evidence.signed_margin_logits_R < -max_lost_logits).nonzero()[0]
    if not len(lost_R):
        return CommitmentCheck(checked=("commitment_replay",))
    first = int(lost_R[0])
    sentence = (
        f"{len(lost_R)} of {evidence.num_tokens} opened tokens would not have been drawn by the "
        f"reference, the first of them at {first}, which lost by "
        f"{-float(evidence.signed_margin_logits_R[first]):.2f} logits"
    )
    return _violated("commitment_replay", sentence)


def _violated(identity: str, statement: str, excess_tokens: int | None = None) -> CommitmentCheck:
    violation = Violation(
        identity=identity, statement=statement, excess_tokens=excess_tokens, tier=Tier.COMMITMENT
    )
    return CommitmentCheck(violations=(violation,))


def _unread(detail: str, reason: Refusal = Refusal.UNREADABLE_EVIDENCE) -> CommitmentCheck:
    unchecked = Unchecked(tier=Tier.COMMITMENT, reason=reason, detail=detail)
    return CommitmentCheck(unchecked=(unchecked,))
