"""The endpoints of the demonstration: an honest one, and others that are not what they claim."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, cast

from audit.app.sweep_kit import CONTROL_PROFILE, KitBuilder
from audit.records import Claim
from audit.sweep_records import Endpoint
from audit.sweeps.adversaries.adversary import AdversaryTools
from audit.sweeps.adversaries.catalogue import find_adversary
from audit.sweeps.adversaries.server import Served
from audit.sweeps.adversaries.thread import LocalServer
from reference_runner.variants import substitutes

if TYPE_CHECKING:
    from reference_runner.replay import TorchReference

#: What the demonstration shows, in the order of its table.
SHOWN = (
    "honest-batch-8",
    "int4-g32",
    "kv-fp8-e4m3",
    "sibling",
    "evasion-one-token",
    "laundered-sibling",
    "usage-inflated",
)


#: What is asked in the demonstration: what takes seconds an endpoint on a small machine.
DETECTORS = (
    *("preflight/1", "border-greedy/1", "border-seeded/1"),
    *("logprob-kl/1", "logprob-binding/1"),
)


@contextmanager
def serving(
    builder: KitBuilder,
    names: Sequence[str],
    *,
    model: str,
    change_at: float = 200.0,
    change_end: float = 400.0,
) -> Iterator[tuple[Endpoint, ...]]:
    """Serve adversaries by their names on loopback; yield them as endpoints that claim the model.

    Those that change do so after `change_at` requests, and are done after `change_end`.
    Raises: ConfigurationError for an unknown name.
    """
    tools = replace(adversary_tools(builder, model), change_at=change_at, change_end=change_end)
    with ExitStack() as stack:
        endpoints = []
        for name in names:
            served = Served(
                model=model,
                behaviour=find_adversary(name).build(tools),
                clock_s=monotonic,
                max_positions=tools.copies["bfloat16"].info.max_positions,
            )
            server = stack.enter_context(LocalServer(served))
            endpoints.append(claiming(name, server.base_url, model))
        yield tuple(endpoints)


def adversary_tools(builder: KitBuilder, model: str) -> AdversaryTools:
    """Return the model copies that adversaries are made of. Raises: ConfigurationError."""
    true = cast("TorchReference", builder.library.open(Claim(model=model, precision="bfloat16")))
    wide = cast("TorchReference", builder.library.open(Claim(model=model, precision="float32")))
    copies = {"bfloat16": true, "float32": wide, **substitutes(true, seed=b"demonstration")}
    return AdversaryTools(copies=copies, seed=b"demonstration", profile_id=CONTROL_PROFILE)


def claiming(name: str, base_url: str, model: str) -> Endpoint:
    """Return an endpoint as a buyer would name it: by its claim, not by what it is."""
    return Endpoint(
        name=name,
        base_url=base_url,
        model=model,
        sampler_profile=CONTROL_PROFILE,
        max_concurrency=8,
    )
