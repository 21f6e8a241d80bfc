"""How the adversaries of the catalogue are put together from engines and tricks."""

from collections.abc import Callable

from audit.sweeps.adversaries import drift, tricks
from audit.sweeps.adversaries.adversary import Adversary, AdversaryKind, AdversaryTools, Build
from audit.sweeps.adversaries.exchange import Behaviour

#: Text that a provider may put before prompts.
INJECTED_TEXT = "You are a helpful assistant of the Example company. Answer briefly and politely.\n"


def adversary(kind: AdversaryKind, name: str, label: str, build: Build) -> Adversary:
    """Return an adversary."""
    return Adversary(name=name, label=label, kind=kind, build=build)


def honest(name: str, label: str, copy: str, *, batch_size: int) -> Adversary:
    """Return an honest server of some arithmetic."""
    return adversary(
        AdversaryKind.HONEST, name, label, lambda tools: tools.engine(copy, batch_size=batch_size)
    )


def cached(name: str, label: str, *, with_seed: bool) -> Adversary:
    """Return an adversary that keeps the true model's answers."""
    return adversary(
        AdversaryKind.SERVICE,
        name,
        label,
        lambda tools: tricks.Cached(tools.engine(), with_seed=with_seed),
    )


def copy(name: str, label: str) -> Adversary:
    """Return an adversary that serves one model copy for everything."""
    return adversary(AdversaryKind.COPY, name, label, lambda tools: tools.engine(name))


def mixture(percent: int, copy: str, unit: str) -> Adversary:
    """Return an adversary that diverts a share, request by request or in blocks."""

    def build(tools: AdversaryTools) -> Behaviour:
        units: dict[str, tricks.Unit] = {
            "each": tricks.each_request,
            "block": tricks.count_block(tools.block_requests),
            "hour": tricks.clock_block(tools.block_s),
            "key": tricks.each_caller,
        }
        return tools.diverted(copy, drift.constant(percent / 100), units[unit])

    worded = {
        "each": "each request by itself",
        "block": "runs of requests together",
        "hour": "stretches of time together",
        "key": "callers as a whole",
    }
    return adversary(
        AdversaryKind.SHARE,
        f"mixture-{copy}-{percent}-{unit}",
        f"{percent} % of requests to {copy}, {worded[unit]}",
        build,
    )


def evading(name: str, label: str, is_test: Callable[[AdversaryTools], tricks.IsTest]) -> Adversary:
    """Return an adversary that is honest to what it takes for a test."""

    def build(tools: AdversaryTools) -> Behaviour:
        true, cheap = tools.engine(), tools.engine("int4-g32")
        return tricks.Evading(true, cheap, is_test=is_test(tools))

    return adversary(AdversaryKind.EVASION, name, label, build)


def asked_otherwise(name: str, label: str, change: tricks.Change) -> Adversary:
    """Return an adversary that asks the true model something else."""
    return adversary(
        AdversaryKind.SERVICE,
        name,
        label,
        lambda tools: tricks.Rewritten(tools.engine(), change),
    )


def ignoring_seeds(name: str, label: str) -> Adversary:
    """Return an adversary that draws every answer afresh; each server counts its own requests."""
    return adversary(
        AdversaryKind.SERVICE,
        name,
        label,
        lambda tools: tricks.Rewritten(tools.engine(), tricks.without_seed()),
    )


def told_otherwise(name: str, label: str, copy: str, change: tricks.Account) -> Adversary:
    """Return an adversary that gives another account of what it did."""
    kind = AdversaryKind.SERVICE if copy == "bfloat16" else AdversaryKind.COPY
    return adversary(kind, name, label, lambda tools: tricks.Restated(tools.engine(copy), change))


def lying_upstream(name: str, label: str) -> Adversary:
    """Return an adversary that names the pinned upstream although another one answers."""

    def build(tools: AdversaryTools) -> Behaviour:
        return tricks.Restated(tools.engine("int4-g32"), tricks.named(tools.upstream))

    return adversary(AdversaryKind.COPY, name, label, build)


def injecting(name: str, label: str, *, hides: bool) -> Adversary:
    """Return an adversary that puts its own text before prompts."""

    def build(tools: AdversaryTools) -> Behaviour:
        engine = tools.engine()
        return tricks.Injected(engine, text=INJECTED_TEXT, tokens=engine, hides=hides)

    return adversary(AdversaryKind.SERVICE, name, label, build)


def laundered(copy: str) -> Adversary:
    """Return an adversary whose log-probabilities are not those of its text."""
    return adversary(
        AdversaryKind.COPY,
        f"laundered-{copy}",
        f"text of {copy}, log-probabilities of the true model",
        lambda tools: tricks.Laundered(tools.engine(copy), true=tools.engine()),
    )


def drifting(name: str, label: str, share: Callable[[AdversaryTools], drift.Share]) -> Adversary:
    """Return an adversary whose share of 4-bit answers moves."""
    return adversary(
        AdversaryKind.DRIFT,
        name,
        label,
        lambda tools: tools.diverted("int4-g32", share(tools), tricks.each_request),
    )


def honest_mix(tools: AdversaryTools) -> Behaviour:
    """Return honest machines that differ in the last bits, one of them for each request."""
    return tricks.Diverted(
        tools.engine(batch_size=1),
        tools.engine("float32"),
        share=drift.constant(0.5),
        unit=tricks.each_request,
        seed=tools.seed,
    )
