"""What a recount says about one bill, in an outcome and a sentence."""

from dataclasses import dataclass

from audit.billing_records import BilledRequest, MeterOutcome
from audit.hidden_tokens.recount import RecountCheck
from audit.hidden_tokens.recount_records import Recount, RecountMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class RecountedBill:
    """What the reference says about one bill."""

    request: BilledRequest
    checked: RecountCheck

    @property
    def outcome(self) -> MeterOutcome:
        """DISAGREES only on a certain count; AGREES only where the bill is the only count found."""
        recount, billed = self.checked.recount, self.request.usage.reasoning_tokens
        if self.checked.violation is not None:
            return MeterOutcome.DISAGREES
        if recount is not None and recount.low_tokens == recount.high_tokens == billed:
            return MeterOutcome.AGREES
        return MeterOutcome.INCONCLUSIVE

    @property
    def statement(self) -> str:
        """The outcome's ground in a sentence."""
        checked, billed = self.checked, self.request.usage.reasoning_tokens
        if checked.violation is not None:
            return checked.violation.statement
        recount = checked.recount
        if recount is None or billed is None:
            refused = checked.unchecked
            return "nothing was recounted" if refused is None else refused.detail
        count = count_text(recount)
        if recount.low_tokens <= billed <= recount.high_tokens:
            if recount.low_tokens == recount.high_tokens:
                return f"the reference counts {count} too"
            return f"the visible answer fits behind {count} hidden tokens"
        side = "above" if billed > recount.high_tokens else "below"
        return f"the bill is {side} the reference's count of {count}, but {_doubt(recount)}"


def count_text(recount: Recount) -> str:
    """Return a count in words."""
    low, high = recount.low_tokens, recount.high_tokens
    return str(high) if low == high else f"{low} to {high}"


def _doubt(recount: Recount) -> str:
    if recount.method is RecountMethod.ALIGNED:
        return "that rests on the seed's noise alone"
    return "rounding may have changed that"
