"""Builds what recounts billed hidden tokens on a local checkpoint, one recorded exchange a bill.

    billed requests + recorded exchanges --join--> pairs --Recounter--> RecountedBill

What stands in the way of a count is its reason; only bad files and settings are errors.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from audit.app.replay import build_library
from audit.billing_records import BilledRequest, Refusal, Tier, Unchecked
from audit.codec.traffic import TrafficLine
from audit.config import ReplaySettings
from audit.errors import CannotJudge, ConfigurationError, InvalidRequest
from audit.hidden_tokens.recount import (
    RecountChannel,
    RecountCheck,
    RecountRecord,
    hidden_exchange,
)
from audit.hidden_tokens.recount_bill import RecountedBill
from audit.hidden_tokens.recount_records import (
    ChainRunner,
    HiddenExchange,
    Recount,
    RecountRules,
)
from audit.hidden_tokens.recount_search import find_count
from audit.planning import plan_replay
from audit.ports import Reference, ReferenceLibrary
from audit.records import AuditRequest, Claim, Reason
from reference_runner.errors import BadSequence, CheckpointError, UnsupportedProfile
from reference_runner.precision import normal_precision

if TYPE_CHECKING:
    # importing it loads torch, which most commands do without
    from reference_runner.replay import TorchReference

#: What rounding moves a logit by where both sides compute at float32. Other precisions differ from
#: model to model, so there it has to be said.
FLOAT32_TOLERANCE_LOGITS = 1e-3

#: How a server says that the limit ended the output.
_CUT_OFF = "length"

_CHAINS_AT_ONCE = 16

_UNKNOWN_MODEL = frozenset(
    {Reason.MODEL_UNAVAILABLE, Reason.WEIGHTS_DIGEST_MISMATCH, Reason.PRECISION_UNSUPPORTED}
)

#: No honest exchanges with known hidden parts are at hand, so no error rate is claimed: only what
#: the reference itself draws counts, not a p-value.
_NO_RECORD = RecountRecord(num_wrong=0, num_exchanges=1)

Pair = tuple[BilledRequest, AuditRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Billed requests with their recorded exchanges."""

    pairs: tuple[Pair, ...]
    num_not_billed: int
    """Recorded exchanges that no billed request names."""
    unreadable: tuple[str, ...]
    """Lines of other exchanges that could not be read, with the reason."""


def join(requests: Iterable[BilledRequest], lines: Iterable[TrafficLine]) -> Joined:
    """Return each billed request with the recorded exchange of its id.

    Raises: InvalidRequest where an id stands twice, or a billed one has no readable exchange.
    """
    billed: dict[str, BilledRequest] = {}
    for request in requests:
        if request.request_id in billed:
            raise InvalidRequest.of("request_id", f"{request.request_id} is billed twice")
        billed[request.request_id] = request
    recorded: dict[str, AuditRequest] = {}
    unreadable: list[str] = []
    num_not_billed = 0
    for line in lines:
        if line.request is None:
            unreadable.append(f"{line.source}: {line.error}")
        elif line.request_id not in billed:
            num_not_billed += 1
        elif line.request_id in recorded:
            raise InvalidRequest.of("request_id", f"{line.request_id} is recorded twice")
        else:
            recorded[line.request_id] = line.request
    missing = [request_id for request_id in billed if request_id not in recorded]
    if missing:
        others = "; ".join(unreadable[:1])
        raise InvalidRequest.of(
            "request_id",
            f"{missing[0]} is billed, but no recorded exchange has this id"
            + (f" (a line could not be read: {others})" if others else ""),
        )
    pairs = tuple((request, recorded[request_id]) for request_id, request in billed.items())
    return Joined(pairs=pairs, num_not_billed=num_not_billed, unreadable=tuple(unreadable))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recounter:
    """Recounts bills against the references of a library."""

    library: ReferenceLibrary
    profile: str | None = None
    precision: str | None = None
    """The reference's, where it is not the claimed one."""
    tolerance_logits: float | None = None
    """None takes float32's own, and refuses other precisions."""
    end_mark_ids: tuple[int, ...] = ()
    _runners: dict[str, ChainRunner] = field(default_factory=dict, repr=False)

    def __call__(self, request: BilledRequest, recorded: AuditRequest) -> RecountedBill:
        """Return what the reference says about one bill. Raises: ConfigurationError."""
        try:
            checked = self._check(request, recorded)
        except CannotJudge as error:
            reason = Refusal.NO_EVIDENCE
            if error.reason in _UNKNOWN_MODEL:
                reason = Refusal.UNKNOWN_MODEL
            checked = _refused(reason, f"{error.reason}: {error}")
        except UnsupportedProfile as error:
            checked = _refused(Refusal.NO_EVIDENCE, str(error))
        except (BadSequence, InvalidRequest) as error:
            checked = _refused(Refusal.UNREADABLE_EVIDENCE, str(error))
        return RecountedBill(request=request, checked=checked)

    def _check(self, request: BilledRequest, recorded: AuditRequest) -> RecountCheck:
        reference = self.library.open(recorded.claim)
        rules = RecountRules(
            tolerance_logits=self._tolerance(recorded.claim), chains_at_once=_CHAINS_AT_ONCE
        )
        runner = self._runner(reference)

        def count(exchange: HiddenExchange) -> Recount | Unchecked:
            return find_count(exchange, runner, reference, rules)

        exchanges = {}
        billed = request.usage.reasoning_tokens
        if billed is not None:
            exchange = self._exchange(request, recorded, reference, billed)
            exchanges[request.request_id] = exchange
        channel = RecountChannel(exchanges=exchanges, count=count, record=_NO_RECORD)
        return channel.check(request, request.domain or "")

    def _exchange(
        self, request: BilledRequest, recorded: AuditRequest, reference: Reference, billed: int
    ) -> HiddenExchange:
        limit = recorded.exchange.sampling.max_tokens
        return hidden_exchange(
            plan_replay(recorded, reference, self.profile),
            billed,
            end_mark_ids=self.end_mark_ids,
            max_output_tokens=limit,
            was_cut_off=limit is not None and recorded.exchange.output.finish_reason == _CUT_OFF,
        )

    def _tolerance(self, claim: Claim) -> float:
        if self.tolerance_logits is not None:
            return self.tolerance_logits
        # a bfloat16 answer differs from a float32 reference by bfloat16's rounding
        both = {claim.precision or self.precision, self.precision or claim.precision}
        if {_normal(precision) for precision in both} != {"float32"}:
            raise ConfigurationError(
                "say with --tolerance-logits what rounding moves a logit by: more than the largest "
                "shortfall of an honest token in trusted traffic. It is known only where the "
                f"traffic is float32 and says so; found {claim.precision or 'no precision'}"
            )
        return FLOAT32_TOLERANCE_LOGITS

    def _runner(self, reference: Reference) -> ChainRunner:
        from reference_runner.regenerate import ChainRunner as TorchChainRunner

        key = f"{reference.info.model_digest} {reference.info.precision}"
        if key not in self._runners:
            torch_reference = cast("TorchReference", reference)
            self._runners[key] = TorchChainRunner(torch_reference, batch_size=_CHAINS_AT_ONCE)
        return self._runners[key]


def build_recounter(
    settings: ReplaySettings,
    *,
    tolerance_logits: float | None,
    end_mark_ids: Sequence[int] = (),
) -> Recounter:
    """Return the way from bill to count. Raises: ConfigurationError."""
    if tolerance_logits is not None:
        # a bad one is refused before any slow work
        RecountRules(tolerance_logits=tolerance_logits)
    return Recounter(
        library=build_library(settings),
        profile=settings.profile,
        precision=settings.precision,
        tolerance_logits=tolerance_logits,
        end_mark_ids=tuple(end_mark_ids),
    )


def _normal(precision: str | None) -> str | None:
    try:
        return None if precision is None else normal_precision(precision)
    except CheckpointError:
        return precision


def _refused(reason: Refusal, detail: str) -> RecountCheck:
    unchecked = Unchecked(tier=Tier.RECOUNT, reason=reason, detail=detail)
    return RecountCheck(reading=None, violation=None, unchecked=unchecked, recount=None)
