"""Where a billed reasoning count ranks among the auditor's own runs of the same prompt.

If the meter agrees with the reference, the billed count and K reference counts are K + 1 draws from
one distribution, so that the bill is as likely to hold any rank. Counts tie, above all on a lattice
of 64 tokens; a uniform number places the bill among its ties and inside its rank. Both p-values are
then exactly uniform: no learned model, no calibration set, nothing to pay for one.

The reference runs must be fresh for each request. Runs that serve several requests make their
p-values move together, and no bet over requests is valid then.

The uniform number comes from a hash of the auditor's salt and the request's id alone. It is thus
fixed before the counts are known, and anybody can compute it again. Whoever sends the bill may know
it too: that lets them choose the least telling place inside a rank, never another rank.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from audit.billing_records import (
    Adversary,
    BilledRequest,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
)
from audit.errors import CalibrationError, InvalidRequest
from audit.hidden_tokens.conformal import cell_key

#: With one reference run the bill is above or below it, and nothing gives an interval.
MIN_REFERENCE_COUNTS = 2

#: Half-way marks of 2**52 steps are exact in double precision and never 0 or 1.
_UNIFORM_BITS = 52

_FORMAT = "rank-1"


def tie_uniform(salt: str, request_id: str) -> float:
    """Return the number in (0, 1) that places a bill among its ties."""
    # the length keeps ("a", "bc") and ("ab", "c") apart
    seed = f"{len(salt)}:{salt}{request_id}".encode("utf-8", "surrogatepass")
    step = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") >> (64 - _UNIFORM_BITS)
    return (2 * step + 1) / float(1 << (_UNIFORM_BITS + 1))


def rank_p_values(
    billed_tokens: int, reference_counts: Sequence[int], uniform: float
) -> tuple[float, float]:
    """Return (p_over, p_under) of a bill among reference counts; they sum to 1.

    `uniform` lies in (0, 1) and does not depend on any count. Source: Vovk, Gammerman and Shafer,
    "Algorithmic Learning in a Random World" (2005), section 2.4 (smoothed conformal p-values).
    """
    num_above = sum(count > billed_tokens for count in reference_counts)
    num_equal = 1 + sum(count == billed_tokens for count in reference_counts)
    num_all = 1 + len(reference_counts)
    p_over = (num_above + uniform * num_equal) / num_all
    return p_over, (num_all - num_above - uniform * num_equal) / num_all


@dataclass(frozen=True, slots=True, kw_only=True)
class RankChannel:
    """Reads the rank of a billed count among the request's reference counts."""

    salt: str
    """The auditor's, no secret; it is chosen before the first request of an account."""

    def read(self, request: BilledRequest, domain: str) -> Reading | Unchecked:
        """Return what the rank says about one request.

        The interval spans the reference counts: a further draw falls inside it with probability
        (K - 1) / (K + 1) at least. Raises: InvalidRequest for a negative count.
        """
        billed, counts = request.usage.reasoning_tokens, request.reference_counts
        if billed is None:
            return _unchecked(Refusal.NO_COUNT, "no reasoning count was billed")
        refused = _refusal(request)
        if refused is not None:
            return refused
        if min(billed, *counts) < 0:
            raise InvalidRequest.of(
                "reference_counts", "neither these nor the bill may be negative"
            )
        p_over, p_under = rank_p_values(billed, counts, tie_uniform(self.salt, request.request_id))
        return Reading(
            tier=Tier.REFERENCE_SAMPLING,
            channel=f"rank:{request.model}",
            p_over=p_over,
            p_under=p_under,
            dkw_epsilon=0.0,
            expected_tokens=sum(counts) / len(counts),
            low_tokens=float(min(counts)),
            high_tokens=float(max(counts)),
            interval_confidence=(len(counts) - 1) / (len(counts) + 1),
            cell=cell_key(request.model, domain, request.effort or ""),
            num_calibration=len(counts),
            controller=Controller.AUDITOR,
            stops=Adversary.MALICIOUS_ORIGIN,
        )

    def to_json(self) -> dict[str, object]:
        """Return the channel as it goes into a calibration file."""
        return {"format": _FORMAT, "salt": self.salt}

    @classmethod
    def from_json(cls, document: object) -> "RankChannel":
        """Return the channel that `to_json` wrote. Raises: CalibrationError."""
        if not isinstance(document, dict) or document.keys() != {"format", "salt"}:
            raise CalibrationError("the rank channel must hold exactly `format` and `salt`")
        salt = document["salt"]
        if document["format"] != _FORMAT:
            raise CalibrationError(
                f"the rank channel's format is {document['format']!r}, not {_FORMAT!r}"
            )
        if not isinstance(salt, str) or not salt:
            raise CalibrationError("the rank channel's salt must be a text that is not empty")
        return cls(salt=salt)


def _refusal(request: BilledRequest) -> Unchecked | None:
    num_counts = len(request.reference_counts)
    if num_counts == 0:
        return _unchecked(Refusal.NO_EVIDENCE, "the prompt was not run on a reference")
    if num_counts < MIN_REFERENCE_COUNTS:
        return _unchecked(
            Refusal.TOO_LITTLE_CALIBRATION,
            f"the prompt was run {num_counts} time on a reference, "
            f"{MIN_REFERENCE_COUNTS} runs are the least",
        )
    if request.is_aggregator:
        # another tokenizer's count is no draw from the reference's distribution
        return _unchecked(
            Refusal.NOT_A_METER_READING,
            "a middleman reports the count, which may be made with another tokenizer",
        )
    return None


def _unchecked(reason: Refusal, detail: str) -> Unchecked:
    return Unchecked(tier=Tier.REFERENCE_SAMPLING, reason=reason, detail=detail)
