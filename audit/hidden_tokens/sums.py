"""The identities that are sums: of totals, of outputs, and of text that can be counted again."""

from audit.billing_records import Refusal, Unchecked, UsageSchema
from audit.hidden_tokens.bill import Bill, Outcome, retokenised, violation
from audit.hidden_tokens.visible import not_checked, recount


def total_sum(bill: Bill) -> Outcome:
    """The total is what was sent and what came back."""
    usage = bill.usage
    if usage.total_tokens is None or usage.prompt_tokens is None:
        return not_checked(Refusal.NO_EVIDENCE, "total or prompt tokens are not stated")
    excess = usage.total_tokens - usage.prompt_tokens - usage.output_tokens
    if excess == 0:
        return None
    if usage.schema is UsageSchema.GEMINI and usage.reasoning_tokens is None and excess > 0:
        # early previews count thoughts in the total only
        return not_checked(Refusal.NO_COUNT, "the thoughts within the total are not stated")
    sums = (
        f"the total of {usage.total_tokens} tokens is not the prompt's {usage.prompt_tokens} "
        f"and the output's {usage.output_tokens}"
    )
    if usage.reasoning_tokens and excess == usage.reasoning_tokens:
        return violation(
            "double_counting", f"{sums}: the reasoning's {excess} were added once more", excess
        )
    return violation("total_sum", f"{sums}: it differs by {excess:+d}", excess)


def output_sum(bill: Bill) -> Outcome:
    """Reasoning is part of the output, and with the completion all of it where that is stated."""
    usage = bill.usage
    reasoning, completion = usage.reasoning_tokens, usage.stated_completion_tokens
    if completion is not None:
        parts = completion + (reasoning or 0)
        if parts == usage.output_tokens:
            return None
        statement = (
            f"the output of {usage.output_tokens} tokens is not the completion's {completion} and "
            f"the reasoning's {reasoning or 0}"
        )
        return violation("output_sum", statement, usage.output_tokens - parts)
    if reasoning is None:
        return not_checked(Refusal.NO_COUNT, "no reasoning tokens are stated")
    if reasoning <= usage.output_tokens:
        return None
    statement = (
        f"{reasoning} reasoning tokens are more than the {usage.output_tokens} of the output they "
        "are part of"
    )
    return violation("output_sum", statement, reasoning - usage.output_tokens)


def completion_sum(bill: Bill) -> Outcome:
    """What is neither reasoning nor visible fits the model's envelope."""
    usage, model = bill.usage, bill.model
    if usage.reasoning_tokens is None:
        return not_checked(Refusal.NO_COUNT, "no reasoning tokens are stated")
    if bill.request.is_aggregator:
        return retokenised()
    if model is None or model.envelope is None:
        return not_checked(
            Refusal.UNKNOWN_MODEL, f"no envelope is known for the model {bill.request.model}"
        )
    if bill.request.opaque is not None and bill.request.opaque.has_builtin_tools:
        return not_checked(Refusal.NO_EVIDENCE, "tools were called, so the answer is not all")
    visible = recount(bill.request.answer, model.vocabulary, bill.counter, what="answer")
    if isinstance(visible, Unchecked):
        return visible
    low, high = model.envelope.allowed(visible)
    residual = usage.output_tokens - usage.reasoning_tokens - visible
    if low <= residual <= high:
        return None
    sums = (
        f"the output of {usage.output_tokens} tokens holds {usage.reasoning_tokens} of reasoning "
        f"and {visible} of answer by {model.vocabulary}; that leaves {residual}, and between "
        f"{low} and {high} can be"
    )
    if low <= residual - usage.reasoning_tokens <= high:
        return violation(
            "double_counting",
            f"{sums}: the reasoning was added once more, as gateways do by mistake",
            usage.reasoning_tokens,
        )
    return violation("completion_sum", sums, residual - (high if residual > high else low))


def chain_recount(bill: Bill) -> Outcome:
    """A chain that is shown has as many tokens as were billed for it."""
    reasoning, chain = bill.usage.reasoning_tokens, bill.request.disclosed_reasoning
    if reasoning is None:
        return not_checked(Refusal.NO_COUNT, "no reasoning tokens are stated")
    if bill.request.is_aggregator:
        return retokenised()
    disclosure = None if bill.model is None else bill.model.disclosure
    if chain is None:
        return not_checked(Refusal.NO_EVIDENCE, "the request carries no reasoning chain")
    if disclosure is None:
        return not_checked(
            Refusal.UNKNOWN_MODEL, f"no chains of {bill.request.model} were compared with bills"
        )
    vocabulary = disclosure.vocabulary
    num_tokens = recount(chain, vocabulary, bill.counter, what="reasoning chain")
    if isinstance(num_tokens, Unchecked):
        return num_tokens
    low, high = disclosure.allowed(num_tokens)
    if low <= reasoning <= high:
        return None
    statement = (
        f"{reasoning} reasoning tokens were billed for a chain of {num_tokens} by {vocabulary}; "
        f"between {low} and {high} can be"
    )
    return violation("chain_recount", statement, reasoning - (high if reasoning > high else low))
