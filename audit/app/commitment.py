"""Builds both sides of a commitment to hidden tokens: keys, fresh secrets, nonces, replay."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audit.app.replay import build_library
from audit.billing_records import (
    BilledRequest,
    BilledUsage,
    MeterOutcome,
    Refusal,
    Tier,
    Unchecked,
    UsageSchema,
)
from audit.codec.traffic import read_traffic
from audit.config import ReplaySettings
from audit.errors import CannotJudge, ConfigurationError, InvalidRequest
from audit.hidden_tokens.commitment.challenge import Challenge, OpeningRules
from audit.hidden_tokens.commitment.documents import ChallengeTerms, HiddenChain, ProviderSecrets
from audit.hidden_tokens.commitment.prover import Commitment, CountStatement, SignedCount
from audit.hidden_tokens.commitment.tree import RunOpening
from audit.hidden_tokens.commitment.verify import (
    CommitmentCheck,
    IsSignedBy,
    ReplayTerms,
    check_openings,
    check_replay,
    check_statement,
)
from audit.ledger.keys import load_or_create_key
from audit.planning import plan_replay
from audit.records import AuditRequest, Output, ReplayPlan
from reference_runner.errors import BadSequence, UnsupportedProfile

_SECRET_BYTES = 32
_NONCE_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySource:
    """The reference, and the recorded exchange that says how the hidden tokens were drawn."""

    settings: ReplaySettings
    traffic: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentFinding:
    """What a commitment, its openings and their replay say about one bill."""

    check: CommitmentCheck

    @property
    def outcome(self) -> MeterOutcome:
        """AGREES only where nothing that was asked for is left unchecked."""
        if self.check.violations:
            return MeterOutcome.DISAGREES
        return MeterOutcome.INCONCLUSIVE if self.check.unchecked else MeterOutcome.AGREES


def commit(chain: HiddenChain, key_path: Path) -> ProviderSecrets:
    """Return a commitment with fresh secrets, signed by the key in a file that is made if missing.

    Raises: ConfigurationError, InvalidRequest.
    """
    secret = secrets.token_bytes(_SECRET_BYTES)
    request = _billed(chain, len(chain.token_ids))
    # the key comes last, so that a chain that is refused makes none
    made = Commitment(
        request,
        chain.token_ids,
        secret=secret,
        sign=lambda message: load_or_create_key(key_path).sign(message),
    )
    return ProviderSecrets(signed=made.signed, secret=secret, token_ids=chain.token_ids)


def open_commitment(kept: ProviderSecrets, terms: ChallengeTerms) -> tuple[RunOpening, ...]:
    """Return what a challenge asks for. Raises: InvalidRequest for another commitment's."""
    signed = kept.signed
    challenge = terms.challenge_of(signed)
    # only the tree is built again: what was signed then stays
    made = Commitment(
        _billed(signed.statement, len(kept.token_ids)),
        kept.token_ids,
        secret=kept.secret,
        sign=lambda _: signed.signature,
    )
    if made.signed != signed:
        raise InvalidRequest.of("commitment", "does not fit the tokenIds and secret beside it")
    return made.answer(challenge)


def draw_challenge(signed: SignedCount, rules: OpeningRules) -> tuple[ChallengeTerms, Challenge]:
    """Return a challenge with a fresh nonce; call it once the commitment was checked.

    Raises: InvalidRequest for rules that cannot be.
    """
    statement = signed.statement
    terms = ChallengeTerms(
        root=statement.root,
        num_tokens=statement.num_tokens,
        nonce=secrets.token_bytes(_NONCE_BYTES),
        rules=rules,
    )
    return terms, terms.challenge_of(signed)


def check_commitment(
    signed: SignedCount,
    terms: ChallengeTerms,
    openings: Sequence[RunOpening],
    *,
    is_signed_by: IsSignedBy,
    billed_tokens: int | None,
    request_id: str | None = None,
    replay: ReplaySource | None = None,
) -> CommitmentFinding:
    """Return what everything at hand says; without a `request_id` the commitment's own counts.

    Raises: InvalidRequest for another commitment's challenge and for unreadable traffic;
    ConfigurationError.
    """
    challenge, statement = terms.challenge_of(signed), signed.statement
    request = _billed(statement, billed_tokens)
    request = replace(request, request_id=request_id or statement.request_id)
    count = check_statement(request, signed, is_signed_by)
    if any(one.reason is not Refusal.NO_COUNT for one in count.unchecked):
        # openings of a commitment that is not the provider's, or of another request, say nothing
        return CommitmentFinding(check=count)
    # one for each run: what is replayed has to be the very opening that was verified
    by_run = {(one.start, one.end): one for one in openings}
    asked = [by_run[run] for run in challenge.runs if run in by_run]
    opened = check_openings(signed, challenge, asked)
    checks = [count, opened]
    if replay is not None and statement.num_tokens and not opened.violations:
        checks.append(_replay(statement.request_id, asked, replay))
    joined = CommitmentCheck(
        violations=tuple(one for check in checks for one in check.violations),
        checked=tuple(one for check in checks for one in check.checked),
        unchecked=tuple(one for check in checks for one in check.unchecked),
    )
    return CommitmentFinding(check=joined)


def _replay(
    request_id: str, openings: Sequence[RunOpening], source: ReplaySource
) -> CommitmentCheck:
    request, settings = _exchange(source.traffic, request_id), source.settings
    # the recorded answer is the visible one; here only prompt and sampling are wanted of it
    asked = replace(request, exchange=replace(request.exchange, output=Output(token_ids=())))
    library = build_library(settings)
    try:
        reference = library.open(request.claim)
        terms = _terms(plan_replay(asked, reference, settings.profile))
        return check_replay(openings, terms, reference)
    except (CannotJudge, InvalidRequest, BadSequence, UnsupportedProfile) as error:
        detail = f"the opened tokens cannot be replayed: {error}"
        refused = Unchecked(tier=Tier.COMMITMENT, reason=Refusal.UNREADABLE_EVIDENCE, detail=detail)
        return CommitmentCheck(unchecked=(refused,))


def _exchange(traffic: Path, request_id: str) -> AuditRequest:
    """Return the exchange of that id, or the only one that a file holds."""
    lines = list(read_traffic([traffic]))
    found = [line for line in lines if line.request_id == request_id]
    if len(lines) > 1 and len(found) != 1:
        raise ConfigurationError(
            f"{traffic} holds {len(found)} exchanges with the request_id {request_id!r}: name a "
            "file with the one that was billed"
        )
    (line,) = found if len(lines) > 1 else lines
    if line.request is None:
        raise InvalidRequest.of(line.source, str(line.error))
    return line.request


def _terms(plan: ReplayPlan) -> ReplayTerms:
    """Return how the tokens were drawn. Raises: InvalidRequest where that is not certain."""
    if len(plan.sequence.profile_ids) != 1:
        raise InvalidRequest.of("claim.sampler_profile", "must name one sampler; give --profile")
    if plan.assumed_parameters:
        missing = ", ".join(plan.assumed_parameters)
        raise InvalidRequest.of("sampling", f"must state {missing}")
    return ReplayTerms(
        prompt_token_ids=plan.sequence.prompt_token_ids,
        sampling=plan.sequence.sampling,
        profile_id=plan.sequence.profile_ids[0],
    )


def _billed(subject: HiddenChain | CountStatement, num_tokens: int | None) -> BilledRequest:
    """Return the request of a bill; a commitment is about its ids and count, and nothing else."""
    usage = BilledUsage(
        schema=UsageSchema.VLLM, output_tokens=num_tokens or 0, reasoning_tokens=num_tokens
    )
    return BilledRequest(
        request_id=subject.request_id,
        account="",
        provider=subject.provider,
        model=subject.model,
        usage=usage,
        observed_at="",
    )
