"""Pieces of the bundled recordings, as lines and as requests."""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audit.codec.traffic import read_traffic
from audit.records import AuditRequest, Examination
from tests.support.example_model import TRAFFIC

HONEST = TRAFFIC / "honest-transformers-bf16.jsonl"
CHEAT = TRAFFIC / "cheat-other-checkpoint.jsonl"


def recordings(pattern: str) -> list[Path]:
    """Return the recordings of a name pattern, those for calibration left out."""
    found = [p for p in sorted(TRAFFIC.glob(pattern)) if "calibration" not in p.name]
    assert found, f"no recording is called {pattern}"
    return found


def requests_of(path: Path) -> list[AuditRequest]:
    """Return the exchanges of a file that holds good lines only."""
    found = []
    for line in read_traffic([path]):
        assert line.request is not None, f"{line.source}: {line.error}"
        found.append(line.request)
    return found


def sampled(requests: list[AuditRequest], number: int) -> list[AuditRequest]:
    """Return at most so many, by a fixed draw: a stride would fall in with how settings repeat."""
    draw = random.Random(20261121)  # noqa: S311  a choice of examples, not a secret
    return draw.sample(requests, min(number, len(requests)))


def renamed(request: AuditRequest, request_id: str) -> AuditRequest:
    """Return the same exchange as another submission."""
    return replace(request, request_id=request_id)


def write_lines(path: Path, *sources: tuple[Path, int]) -> Path:
    """Write the first lines of recordings to one file."""
    with path.open("w", encoding="utf-8") as file:
        for source, number in sources:
            file.writelines(lines(source)[:number])
    return path


def lines(path: Path) -> list[str]:
    """Return the lines of a file, ends included."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    return text.decode("utf-8").splitlines(keepends=True)


def prompts_of(path: Path) -> set[str]:
    """Return the prompts of a recording as it states them."""
    return {json.dumps(_prompt(json.loads(line))) for line in lines(path)}


def _prompt(line: dict[str, dict[str, object]]) -> object:
    request = line["request"]
    return request.get("prompt", request.get("messages"))


def shares(examinations: list[Examination]) -> tuple[int, int]:
    """Return (matches, tokens) over all evidence."""
    evidences = [e.evidence for e in examinations if e.evidence is not None]
    return sum(e.num_matches for e in evidences), sum(e.num_tokens for e in evidences)


def by_temperature(
    requests: list[AuditRequest], examinations: list[Examination]
) -> Iterator[tuple[float, list[Examination]]]:
    """Yield the examinations of each stated temperature."""
    groups: dict[float, list[Examination]] = {}
    for request, examination in zip(requests, examinations, strict=True):
        temperature = request.exchange.sampling.temperature
        assert temperature is not None
        groups.setdefault(temperature, []).append(examination)
    yield from sorted(groups.items())
