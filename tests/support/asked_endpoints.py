"""Real servers on loopback around the example model, asked by the real client."""

import asyncio
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from audit.ports import ProbeReference
from audit.sweep_records import Budget, Endpoint, Probe, Probed
from audit.sweeps.adversaries.adversary import AdversaryTools
from audit.sweeps.adversaries.catalogue import find_adversary
from audit.sweeps.adversaries.server import Served
from audit.sweeps.adversaries.thread import LocalServer
from audit.sweeps.detector import Detector, Tools
from audit.sweeps.provider.answers import parse_answer
from audit.sweeps.provider.client import ClientSettings, ProviderClient
from audit.sweeps.provider.secrets import Keyring
from reference_runner.variants import substitutes
from tests.support.example_model import example_reference

ENDPOINT = Endpoint(name="local", base_url="http://127.0.0.1/v1", model="example")

_MODULES = ("argparse", "ast", "difflib", "doctest", "inspect", "optparse", "pydoc", "tarfile")


@cache
def example_texts() -> tuple[str, ...]:
    """Return ordinary text of the kind that the example model was trained on."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    return tuple((folder / f"{name}.py").read_text(encoding="utf-8") for name in _MODULES)


@cache
def copies() -> dict[str, ProbeReference]:
    """Return the example model at several precisions, and what it is replaced by."""
    true = example_reference("bfloat16")
    roundings = ("int4-g32", "fp8-e4m3", "int8-g32", "kv-fp8-e4m3")
    return {
        "bfloat16": true,
        "float32": example_reference("float32"),
        **{kind: true.rounded(kind) for kind in roundings},
        **substitutes(true, seed=b"substitutes"),
    }


def tools(*candidates: str, texts: Sequence[str] | None = None) -> Tools:
    """Return the tools of a detector around the claimed model."""
    return Tools(
        reference=copies()["bfloat16"],
        candidates={name: copies()[name] for name in candidates},
        texts=example_texts() if texts is None else texts,
    )


def ask(adversary: str, probes: Sequence[Probe], endpoint: Endpoint = ENDPOINT) -> list[Probed]:
    """Return the answers of a fresh server that behaves like an adversary of the catalogue."""
    behaviour = find_adversary(adversary).build(AdversaryTools(copies=copies(), seed=b"server"))
    served = Served(model="example", behaviour=behaviour, clock_s=time.monotonic)
    with LocalServer(served) as server:
        return asyncio.run(_ask(_at(endpoint, server.base_url), probes))


def ask_planned(
    detector: Detector, adversary: str, seed: bytes, num: int, endpoint: Endpoint = ENDPOINT
) -> list[Probed]:
    """Return what a server answers to a detector's plan."""
    return ask(adversary, detector.plan(endpoint, seed, num), endpoint)


async def _ask(endpoint: Endpoint, probes: Sequence[Probe]) -> list[Probed]:
    budget = Budget(max_requests=100_000, max_tokens=100_000_000)
    settings = ClientSettings(
        clock=lambda: "2026-11-01T00:00:00.000000Z",
        monotonic=time.monotonic,
        uniform=lambda: 0.5,
    )
    async with ProviderClient([endpoint], budget, Keyring({}), settings) as client:
        raws = await asyncio.gather(*(client.ask(endpoint, probe) for probe in probes))
    return [
        Probed(probe=probe, answer=parse_answer(probe, raw))
        for probe, raw in zip(probes, raws, strict=True)
    ]


def _at(endpoint: Endpoint, base_url: str) -> Endpoint:
    return replace(endpoint, base_url=base_url)
