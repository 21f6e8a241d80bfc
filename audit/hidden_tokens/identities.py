"""What must hold of every bill, whatever the model thought: sums, steps, caps and recounts.

    total = prompt + output
    output = reasoning + visible + envelope
    reasoning = a whole number of steps, where the model's meter has steps

Each identity either holds, or is violated, or cannot be told, and the result says which. No alpha
is spent: on honest bills none is ever violated, as far as the facts' rows go. An answer must be all
of the visible output; where tools were called it is not, so clients leave it out.
"""

from collections.abc import Callable

from audit.billing_records import BilledRequest, Refusal, Unchecked, Violation
from audit.hidden_tokens.bill import Bill, Outcome, retokenised, violation
from audit.hidden_tokens.facts import Facts
from audit.hidden_tokens.sums import chain_recount, completion_sum, output_sum, total_sum
from audit.hidden_tokens.visible import not_checked
from audit.hidden_tokens.vocabularies import TokenCounter


def check_accounting(
    request: BilledRequest, facts: Facts, vocabularies: TokenCounter
) -> tuple[tuple[Violation, ...], tuple[str, ...], tuple[Unchecked, ...]]:
    """Return the identities that are violated, those that hold, and those that cannot be told.

    Raises: ConfigurationError for a rank file that is not what its name says.
    """
    bill = Bill(request=request, facts=facts, model=facts.of(request.model), counter=vocabularies)
    violations: list[Violation] = []
    holding: list[str] = []
    unchecked: list[Unchecked] = []
    for identity, check in _IDENTITIES.items():
        outcome = check(bill)
        if outcome is None:
            holding.append(identity)
        elif isinstance(outcome, Violation):
            violations.append(outcome)
        else:
            detail = f"{identity}: {outcome.detail}"
            unchecked.append(not_checked(outcome.reason, detail))
    return tuple(violations), tuple(holding), tuple(unchecked)


def _lattice(bill: Bill) -> Outcome:
    """Reasoning comes in whole steps where the model's meter has them."""
    reasoning, model = bill.usage.reasoning_tokens, bill.model
    if reasoning is None:
        return not_checked(Refusal.NO_COUNT, "no reasoning tokens are stated")
    if bill.request.is_aggregator:
        return retokenised()
    if model is None or model.lattice is None:
        return not_checked(
            Refusal.UNKNOWN_MODEL, f"no steps are known for the model {bill.request.model}"
        )
    step, excess = model.lattice.step_tokens, reasoning % model.lattice.step_tokens
    if excess == 0:
        return None
    statement = (
        f"{reasoning} reasoning tokens are no multiple of {step}, in which {model.name} is metered"
    )
    return violation("lattice", statement, excess)


def _requested_cap(bill: Bill) -> Outcome:
    return _cap(bill, bill.request.max_output_tokens, "max_output_tokens", "the client's own limit")


def _model_cap(bill: Bill) -> Outcome:
    cap = None if bill.model is None else bill.model.output_cap
    name = f"the limit of {bill.request.model}"
    return _cap(bill, None if cap is None else cap.max_tokens, "model_cap", name)


def _cap(bill: Bill, cap: int | None, identity: str, name: str) -> Outcome:
    output = bill.usage.output_tokens
    if cap is None:
        return not_checked(Refusal.NO_EVIDENCE, f"{name} is not known")
    if bill.request.is_aggregator:
        return retokenised()
    if output <= cap:
        return None
    return violation(identity, f"{output} output tokens are beyond {name}, {cap}", output - cap)


def _thinking_budget(bill: Bill) -> Outcome:
    """Reasoning stays within its budget, where the servers enforce it."""
    budget, reasoning = bill.request.thinking_budget_tokens, bill.usage.reasoning_tokens
    if budget is None:
        return not_checked(Refusal.NO_EVIDENCE, "no thinking budget is stated")
    if reasoning is None:
        return not_checked(Refusal.NO_COUNT, "no reasoning tokens are stated")
    enforced = bill.facts.budget_of(bill.usage.schema)
    if enforced is None or bill.request.is_aggregator:
        return not_checked(
            Refusal.NO_SIGNAL, "a thinking budget is a target here, which honest counts may exceed"
        )
    if reasoning <= budget + enforced.slack_tokens:
        return None
    statement = f"{reasoning} reasoning tokens are beyond the thinking budget of {budget}"
    return violation("thinking_budget", statement, reasoning - budget)


def _stream_differs(bill: Bill) -> Outcome:
    """The stream's last chunk and the bill state the same counts."""
    streamed = bill.request.streamed_usage
    if streamed is None:
        return not_checked(Refusal.NO_EVIDENCE, "no usage from the stream is given")
    for name in ("output_tokens", "reasoning_tokens", "prompt_tokens", "total_tokens"):
        billed, seen = getattr(bill.usage, name), getattr(streamed, name)
        if billed is not None and seen is not None and billed != seen:
            statement = f"{billed} {name.replace('_', ' ')} were billed; the stream said {seen}"
            return violation("stream_differs", statement, billed - seen)
    return None


_IDENTITIES: dict[str, Callable[[Bill], Outcome]] = {
    "total_sum": total_sum,
    "output_sum": output_sum,
    "completion_sum": completion_sum,
    "lattice": _lattice,
    "max_output_tokens": _requested_cap,
    "model_cap": _model_cap,
    "thinking_budget": _thinking_budget,
    "stream_differs": _stream_differs,
    "chain_recount": chain_recount,
}
