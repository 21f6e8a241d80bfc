"""What every check returns, and how answers are counted and grouped."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from audit.sweep_records import AnswerStatus, Misconfiguration, Probed
from audit.sweeps.preflight.local import LocalModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one check found."""

    findings: tuple[Misconfiguration, ...] = ()
    statistics: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()


def answered(probed: Sequence[Probed], check: str) -> list[Probed]:
    """Return the answered requests of one check, in order."""
    return [
        item
        for item in probed
        if item.probe.group == check and item.answer.status is AnswerStatus.ANSWERED
    ]


def pairs(probed: Sequence[Probed], check: str) -> list[tuple[Probed, Probed]]:
    """Return requests that were sent twice and answered twice."""
    by_pair: dict[object, list[Probed]] = {}
    for item in answered(probed, check):
        by_pair.setdefault(json.loads(item.probe.expected_json).get("pair"), []).append(item)
    return [(items[0], items[1]) for items in by_pair.values() if len(items) == 2]


def num_tokens(item: Probed) -> int | None:
    """Return how many tokens came back, where that can be counted exactly."""
    if item.answer.token_ids is not None:
        return len(item.answer.token_ids)
    return len(item.answer.logprobs) or None


def common_prefix(first: Probed, second: Probed, local: LocalModel) -> tuple[int, int]:
    """Return how many tokens two answers share at the start, and the length of the shorter."""
    one, two = (_units(item, local) for item in (first, second))
    shared = 0
    for left, right in zip(one, two, strict=False):
        if left != right:
            break
        shared += 1
    return shared, min(len(one), len(two))


def _units(item: Probed, local: LocalModel) -> Sequence[object]:
    """Return an answer's tokens, or its characters where tokens cannot be told."""
    found = local.answer_ids(item.answer)
    return found if found is not None else (item.answer.text or "")
