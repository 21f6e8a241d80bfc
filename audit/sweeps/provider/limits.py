"""What a run may spend on one endpoint, and how fast: checked before every try, settled after it.

Before a try its worst case is set aside; afterwards the answer's own usage takes its place, where
there is a usable one. What was declined or never reached the endpoint costs a request and no
tokens; what broke off half-way costs the worst case, since it may have been billed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation

from audit.billing_records import Money
from audit.errors import InvalidRequest
from audit.sweep_records import AnswerStatus, Budget, Endpoint, Probe, Spending

#: Set aside for the answer of a probe that states no limit of its own.
UNSTATED_MAX_TOKENS = 4096

#: A template wraps each message in a few tokens, and a text in its special tokens.
_TOKENS_A_MESSAGE = 16

#: Statuses after which nothing can have been billed but the request itself.
_WITHOUT_TOKENS = (AnswerStatus.REFUSED, AnswerStatus.RATE_LIMITED, AnswerStatus.NOT_SENT)

_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])

Sleep = Callable[[float], Awaitable[None]]
Monotonic = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of one try."""

    prompt: int
    output: int


def worst_case(probe: Probe) -> Tokens:
    """Return more tokens than the probe can be billed for by who counts honestly.

    No tokenizer makes more tokens than bytes of a text.
    """
    prompt = probe.prompt
    if prompt.messages is not None:
        texts = [f"{m.role}{m.content}" for m in prompt.messages]
        num_prompt = sum(len(t.encode("utf-8", "replace")) + _TOKENS_A_MESSAGE for t in texts)
    elif prompt.token_ids is not None:
        num_prompt = len(prompt.token_ids)
    else:
        num_prompt = len((prompt.text or "").encode("utf-8", "replace"))
    max_tokens = probe.sampling.max_tokens
    return Tokens(
        prompt=num_prompt + _TOKENS_A_MESSAGE,
        output=UNSTATED_MAX_TOKENS if max_tokens is None else max_tokens,
    )


class BudgetGuard:
    """Counts what one endpoint has cost, and says whether another try fits."""

    def __init__(self, endpoint: Endpoint, budget: Budget) -> None:
        """Start with nothing spent.

        Raises: InvalidRequest where the money cannot be watched for want of prices.
        """
        self._budget = budget
        self._prices = _prices(endpoint, budget)
        self._currency = None if self._prices is None else _currency(endpoint, budget)
        self._num_requests = 0
        self._num_answered = 0
        self._used = Tokens(prompt=0, output=0)
        self._open = Tokens(prompt=0, output=0)

    @property
    def spending(self) -> Spending:
        """What was spent so far; tries under way are left out."""
        cost = None
        if self._prices is not None and self._currency is not None:
            amount = self._cost(self._used)
            cost = Money(amount=f"{amount:f}", currency=self._currency)
        return Spending(
            num_requests=self._num_requests,
            num_answered=self._num_answered,
            prompt_tokens=self._used.prompt,
            output_tokens=self._used.output,
            cost=cost,
        )

    def reserve(self, probe: Probe) -> str | None:
        """Set a try aside; return None, or in a sentence why the budget does not allow it."""
        budget, need = self._budget, worst_case(probe)
        if self._num_requests >= budget.max_requests:
            return f"the budget of {budget.max_requests} requests is spent"
        planned = _sum(_sum(self._used, self._open), need)
        if planned.prompt + planned.output > budget.max_tokens:
            return (
                f"the budget of {budget.max_tokens} tokens may be exceeded: "
                f"{self._used.prompt + self._used.output} are spent, and this request may take "
                f"{need.prompt + need.output}"
            )
        limit = budget.max_cost
        if limit is not None and self._cost(planned) > Decimal(limit.amount):
            return f"the budget of {limit.amount} {limit.currency} may be exceeded by this request"
        self._num_requests += 1
        self._open = _sum(self._open, need)
        return None

    def settle(self, probe: Probe, status: AnswerStatus, usage: Tokens | None) -> None:
        """Replace what was set aside for a try by what it took; `usage` is the answer's own."""
        need = worst_case(probe)
        self._open = Tokens(
            prompt=self._open.prompt - need.prompt, output=self._open.output - need.output
        )
        self._charge(need, status, usage)

    def charge(
        self, probe: Probe, status: AnswerStatus, usage: Tokens | None, num_attempts: int
    ) -> None:
        """Count an answer that an earlier attempt at the same run recorded."""
        self._num_requests += num_attempts
        if num_attempts:
            self._charge(worst_case(probe), status, usage)

    def _charge(self, need: Tokens, status: AnswerStatus, usage: Tokens | None) -> None:
        self._num_answered += status is AnswerStatus.ANSWERED
        if usage is None and status in _WITHOUT_TOKENS:
            return
        self._used = _sum(self._used, usage or need)

    def _cost(self, tokens: Tokens) -> Decimal:
        if self._prices is None:
            return Decimal(0)
        input_price, output_price = self._prices
        total = _EXACT.add(
            _EXACT.multiply(Decimal(tokens.prompt), input_price),
            _EXACT.multiply(Decimal(tokens.output), output_price),
        )
        return _EXACT.scaleb(total, -6)


class Pace:
    """Spaces out the tries of one endpoint, and holds them all where it asks for a rest."""

    def __init__(self, max_per_s: float | None, monotonic: Monotonic, sleep: Sleep) -> None:
        self._gap_s = 0.0 if max_per_s is None else 1.0 / max_per_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._next_s = 0.0

    async def wait(self) -> None:
        """Return when the next try is due."""
        now_s = self._monotonic()
        due_s = max(now_s, self._next_s)
        # taken before the wait: whoever comes next queues behind it
        self._next_s = due_s + self._gap_s
        if due_s > now_s:
            await self._sleep(due_s - now_s)

    def hold(self, delay_s: float) -> None:
        """Let no try start for so long."""
        self._next_s = max(self._next_s, self._monotonic() + delay_s)


def _sum(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(prompt=one.prompt + other.prompt, output=one.output + other.output)


def _prices(endpoint: Endpoint, budget: Budget) -> tuple[Decimal, Decimal] | None:
    if endpoint.input_price is None or endpoint.output_price is None:
        if budget.max_cost is not None:
            raise InvalidRequest.of(
                f"endpoints[{endpoint.name}].input_price",
                "must be stated with output_price, since the budget limits money",
            )
        return None
    return Decimal(endpoint.input_price.amount), Decimal(endpoint.output_price.amount)


def _currency(endpoint: Endpoint, budget: Budget) -> str:
    stated = (endpoint.input_price, endpoint.output_price, budget.max_cost)
    found = {money.currency for money in stated if money is not None}
    if len(found) != 1:
        raise InvalidRequest.of(
            f"endpoints[{endpoint.name}].input_price",
            f"prices and budget are in {', '.join(sorted(found))}; state all in one currency",
        )
    return found.pop()
