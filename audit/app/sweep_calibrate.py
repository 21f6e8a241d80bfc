"""Makes honest bundles: asks every honest variant, and known copies, and measures the answers.

Variants are answered here, in several batch sizes and precisions, and by endpoints that the caller
knows to be honest. All of them are asked over HTTP, as the endpoints of a sweep are.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import cast

from audit.app.base import VERSION, utc_now
from audit.app.sweep_kit import CONTROL_PROFILE, KitBuilder
from audit.app.sweeps import open_client
from audit.errors import CalibrationError, CannotJudge, ConfigurationError
from audit.ports import ProbeReference
from audit.records import Claim
from audit.sweep_records import ApiStyle, Budget, Endpoint, Probe, Probed
from audit.sweeps.adversaries.answering import Engine
from audit.sweeps.adversaries.server import Served
from audit.sweeps.adversaries.thread import LocalServer
from audit.sweeps.bundle import HonestBundle, seal_bundle
from audit.sweeps.catalogue import comparer_kinds, detector_kinds
from audit.sweeps.detector import Tools
from audit.sweeps.honest import measure, measure_comparers
from audit.sweeps.plan import detector_seed
from audit.sweeps.provider.answers import parse_answer
from audit.sweeps.registry import Kinds

#: Requests to each variant, where the effort is 1. Bounds on rare events need many; what needs
#: whole answers, or samples beside each of them, is dear.
NUM_REQUESTS: Mapping[str, int] = {
    "border-greedy/1": 1600,
    "border-seeded/1": 1200,
    "logprob-kl/1": 240,
    "logprob-tracking/1": 400,
    "logprob-binding/1": 240,
    "conformal-rank/1": 120,
    "text-mmd/1": 1000,
    "candidate-ratio/1": 100,
    "one-token-cells/1": 2400,
}

#: Detectors that can say what they would see only from answers of the copies themselves.
_NEED_ATTACKS = ("conformal-rank/1", "text-mmd/1", "candidate-ratio/1")

#: Batch sizes of local variants: sums are taken in another order, so the last bits differ.
_BATCH_SIZES = (1, 8)

_SEED = b"honest bundle"

_NO_LIMIT = Budget(max_requests=10**9, max_tokens=10**12)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlan:
    """What is asked for a bundle."""

    endpoints: tuple[Endpoint, ...] = ()
    """Known to be honest; each is a variant by its name."""
    precisions: tuple[str, ...] = ()
    """Honest beside the claimed one."""
    detectors: tuple[str, ...] = ()
    """Which are measured; empty means all."""
    effort: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    name: str
    model: ProbeReference
    batch_size: int


def make_bundle(builder: KitBuilder, plan: BundlePlan, *, tell: Tell) -> HonestBundle:
    """Return a bundle of the builder's only model; `tell` gets a line about each step.

    Raises: ConfigurationError, CalibrationError.
    """
    tools = builder.tools(Claim())
    kinds = _chosen(detector_kinds(builder.judge(Claim())), plan.detectors)
    like = _like(plan)
    honest: dict[str, dict[str, Sequence[Probed]]] = {}
    attacks: dict[str, dict[str, Sequence[Probed]]] = {}
    with _served(_variants(builder, tools, plan), like) as local:
        for endpoint in (*local, *plan.endpoints):
            tell(f"asking {endpoint.name}")
            _gather(honest, endpoint, kinds, tools, plan.effort, tuple(NUM_REQUESTS))
    copies = [_Local(name=n, model=m, batch_size=8) for n, m in tools.candidates.items()]
    with _served(copies, like) as local:
        for endpoint in local:
            tell(f"asking the known copy {endpoint.name}")
            _gather(attacks, endpoint, kinds, tools, plan.effort, _NEED_ATTACKS)
    tell("measuring")
    measured = measure(kinds, honest, attacks, like, tools, builder.policy)
    beside = measure_comparers(comparer_kinds(), honest, attacks, tools, builder.policy)
    if not measured.sections:
        raise CalibrationError(
            "no detector could be measured: " + "; ".join(measured.disabled.values())
        )
    info = tools.reference.info
    return seal_bundle(
        created_at=utc_now(),
        model_digest=info.model_digest,
        precision=info.precision,
        error=builder.policy.calibration_rate,
        variants=tuple(sorted({name for answers in honest.values() for name in answers})),
        sections={**measured.sections, **beside.sections},
        disabled={**measured.disabled, **beside.disabled},
        held_out=measured.held_out,
    )


def _chosen(kinds: Kinds, wanted: Sequence[str]) -> Kinds:
    unknown = sorted(set(wanted) - set(kinds))
    if unknown:
        raise ConfigurationError(
            f"there is no detector {unknown[0]!r} to measure; known are: {', '.join(sorted(kinds))}"
        )
    return {name: kind for name, kind in kinds.items() if not wanted or name in wanted}


def _variants(builder: KitBuilder, tools: Tools, plan: BundlePlan) -> list[_Local]:
    models = {tools.reference.info.precision: tools.reference}
    for precision in plan.precisions:
        try:
            model = builder.library.open(Claim(precision=precision))
        except CannotJudge as error:
            raise ConfigurationError(f"--also-honest {precision}: {error}") from error
        models[precision] = cast("ProbeReference", model)
    # two of each arithmetic at least: one of its kind would be unlike all others when held out
    return [
        _Local(name=f"transformers-{name}-batch-{size}", model=model, batch_size=size)
        for name, model in models.items()
        for size in _BATCH_SIZES
    ]


def _like(plan: BundlePlan) -> Endpoint:
    """Return an endpoint as all local variants are."""
    api = plan.endpoints[0].api if plan.endpoints else ApiStyle.COMPLETIONS
    return Endpoint(
        name="local",
        base_url="http://localhost",
        model="local",
        api=api,
        sampler_profile=CONTROL_PROFILE,
        max_concurrency=8,
    )


@contextmanager
def _served(locals_: Sequence[_Local], like: Endpoint) -> Iterator[list[Endpoint]]:
    with ExitStack() as stack:
        endpoints = []
        for local in locals_:
            engine = Engine(
                local.model,
                seed=local.name.encode(),
                batch_size=local.batch_size,
                profile_id=CONTROL_PROFILE,
            )
            served = Served(
                model=like.model,
                behaviour=engine,
                clock_s=monotonic,
                max_positions=local.model.info.max_positions,
            )
            server = stack.enter_context(LocalServer(served))
            endpoints.append(replace(like, name=local.name, base_url=server.base_url))
        yield endpoints


def _gather(
    into: dict[str, dict[str, Sequence[Probed]]],
    endpoint: Endpoint,
    kinds: Kinds,
    tools: Tools,
    effort: float,
    wanted: Sequence[str],
) -> None:
    for name, kind in kinds.items():
        if kind.calibrator is None or name not in wanted:
            continue
        # every variant gets probes of its own: more of the model is seen, and none is told twice
        seed = detector_seed(_SEED + VERSION.encode() + endpoint.name.encode(), name)
        num_probes = max(1, round(NUM_REQUESTS[name] * effort))
        probes = kind.build(tools, None).plan(endpoint, seed, num_probes)
        if probes:
            into.setdefault(name, {})[endpoint.name] = asyncio.run(_asked(endpoint, probes))


async def _asked(endpoint: Endpoint, probes: Sequence[Probe]) -> list[Probed]:
    gate = asyncio.Semaphore(endpoint.max_concurrency)
    async with open_client([endpoint], _NO_LIMIT) as client:

        async def ask(probe: Probe) -> Probed:
            async with gate:
                raw = await client.ask(endpoint, probe)
            return Probed(probe=probe, answer=parse_answer(probe, raw))

        return list(await asyncio.gather(*(ask(probe) for probe in probes)))
