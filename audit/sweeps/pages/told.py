"""What a run's controls, opening and spending say, in sentences."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from audit.billing_records import Money
from audit.errors import VerificationError
from audit.sweep_records import EndpointRole, SweepOutcome, SweepResult
from audit.sweeps.commitment import check_opening
from audit.sweeps.decide.controls import trouble_with_controls
from audit.sweeps.pages import wording


def opening_told(result: SweepResult) -> str:
    """Return in a sentence whether a run's opening is what it committed itself to."""
    if result.commitment is None:
        return "The run committed itself to nothing."
    if result.opening is None:
        return "The commitment was not opened: what it was made to cannot be checked."
    try:
        check_opening(result.commitment, result.opening)
    except VerificationError as error:
        return f"The opening does NOT match: {error}."
    return "The opening matches the commitment."


def controls_told(result: SweepResult) -> tuple[str, ...]:
    """Return in sentences how the controls of a run behaved."""
    if all(finding.role is EndpointRole.TARGET for finding in result.findings):
        return ("No control was asked along, so the sweep itself was not checked.",)
    trouble = trouble_with_controls(result.findings)
    return trouble or ("All controls behaved as they must.",)


def total_cost(results: Sequence[SweepResult]) -> str:
    """Return what all runs cost together, by currency."""
    totals: dict[str, Decimal] = {}
    num_unknown = 0
    for result in results:
        for finding in result.findings:
            cost = finding.spending.cost
            if (amount := _amount(cost)) is None or cost is None:
                num_unknown += finding.spending.num_requests > 0
            else:
                totals[cost.currency] = totals.get(cost.currency, Decimal(0)) + amount
    stated = " and ".join(f"{amount:f} {name}" for name, amount in sorted(totals.items()))
    if num_unknown and stated:
        return f"{stated}, and what {num_unknown:,} times was not stated"
    return stated or wording.NOT_STATED


def missing_runs(results: Sequence[SweepResult]) -> tuple[SweepResult, ...]:
    """Return the runs that say nothing, latest first."""
    silent = (SweepOutcome.VOID, SweepOutcome.NOT_PERFORMED)
    return tuple(result for result in reversed(results) if result.outcome in silent)


def _amount(cost: Money | None) -> Decimal | None:
    try:
        return None if cost is None else Decimal(cost.amount)
    except InvalidOperation:
        return None
