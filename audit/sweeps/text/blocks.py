"""Blocks of a plan of `text-mmd/1`: complete or not, and what the permutation test says of them.

Legend: N answers of both sides.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audit.ports import ProbeReference
from audit.records import Prompt
from audit.sweep_records import AnswerStatus, Probed
from audit.sweeps.text import samples
from audit.sweeps.text.kernels import KERNELS
from audit.sweeps.text.memory import PerModel, Remembered
from audit.sweeps.text.mmd import MmdTest, log_e_of_p, permutation_test

#: The kernels that carry evidence, half each. The padded one sees lengths and is only reported.
JUDGED_KERNELS = ("hamming-pad-free", "spectrum-5")
REPORTED_KERNELS = ("hamming",)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTest:
    """A block that is complete."""

    num_used: int
    tests: Mapping[str, MmdTest] | None
    """By kernel, the largest p-value over all references; None where there was too little."""

    def log_e(self, inflation: float) -> float:
        """Return the log e-value where honest p-values are small `inflation` times as often."""
        if self.tests is None:
            return 0.0
        values = [
            log_e_of_p(min(1.0, inflation * self.tests[kernel].p_value))
            for kernel in JUDGED_KERNELS
        ]
        return float(np.logaddexp.reduce(values) - np.log(len(values)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """How local answers are drawn: as the endpoint was asked."""

    per_prompt: int
    max_tokens: int
    temperature: float


_LocalKey = tuple[str, str, tuple[Prompt, ...], LocalSettings]
_LOCAL: PerModel[_LocalKey, tuple[tuple[str, ...], ...]] = PerModel()

#: A block's tests, which only its answers and the local ones decide; as many as one bundle needs.
_MAX_TESTED = 4096


class Blocks:
    """Reads blocks; a block is tested once, and its local answers are drawn only then."""

    def __init__(
        self,
        references: Mapping[str, ProbeReference],
        local: LocalSettings,
        num_permutations: int,
    ) -> None:
        """Take the honest references by name; all must be contradicted."""
        self._references = references
        self._local = local
        self._num_permutations = num_permutations
        self._tested: Remembered[tuple[tuple[str, str | None], ...], BlockTest] = Remembered(
            _MAX_TESTED
        )

    def read(self, probed: Sequence[Probed]) -> list[tuple[bool, BlockTest]]:
        """Return each block in the plan's order, with whether all of it was sent.

        Raises: BadSequence.
        """
        by_block: dict[str, list[Probed]] = {}
        for item in probed:
            by_block.setdefault(item.probe.group, []).append(item)
        return [self._block(items) for items in by_block.values()]

    def _block(self, items: Sequence[Probed]) -> tuple[bool, BlockTest]:
        texts = [samples.answer_text(item.answer) for item in items]
        # a block that a decision cut short was cut because of what had come back
        num_sent = sum(item.answer.status is not AnswerStatus.NOT_SENT for item in items)
        if num_sent < int(json.loads(items[0].probe.expected_json)["size"]):
            num_used = sum(text is not None for text in texts)
            return False, BlockTest(num_used=num_used, tests=None)
        key = tuple((item.probe.probe_id, text) for item, text in zip(items, texts, strict=True))
        return True, self._tested.get(key, lambda: self._test_all(items))

    def _test_all(self, items: Sequence[Probed]) -> BlockTest:
        used = [item for item in items if samples.answer_text(item.answer) is not None]
        if not used:
            return BlockTest(num_used=0, tests=None)
        try:
            tests = {
                kernel: max(
                    (self._test(kernel, name, items, used) for name in self._references),
                    key=lambda test: test.p_value,
                )
                for kernel in (*JUDGED_KERNELS, *REPORTED_KERNELS)
            }
        except ValueError:
            # too few answers came back to compare any
            return BlockTest(num_used=len(used), tests=None)
        return BlockTest(num_used=len(used), tests=tests)

    def _test(
        self, kernel: str, name: str, items: Sequence[Probed], used: Sequence[Probed]
    ) -> MmdTest:
        local = self._local_texts(name, items)
        texts_N = [samples.answer_text(item.answer) or "" for item in used]
        texts_N += [text for _, text in local]
        prompt_N = [_number(item) for item in used] + [number for number, _ in local]
        return permutation_test(
            KERNELS[kernel](texts_N),
            np.asarray(prompt_N),
            np.arange(len(texts_N)) < len(used),
            num_permutations=self._num_permutations,
            rng=samples.derived_rng(items[0].probe.probe_id.encode(), f"{kernel} {name}"),
        )

    def _local_texts(self, name: str, items: Sequence[Probed]) -> list[tuple[int, str]]:
        """Return (prompt's number, answer) of each local answer to a block's prompts."""
        prompts = {_number(item): item.probe.prompt for item in items}
        numbers = sorted(prompts)
        ordered = tuple(prompts[number] for number in numbers)
        seed = str(json.loads(items[0].probe.expected_json)["localSeed"])
        reference = self._references[name]

        def drawn() -> tuple[tuple[str, ...], ...]:
            answers = samples.draw_answers(
                reference,
                ordered,
                bytes.fromhex(seed) + name.encode(),
                per_prompt=self._local.per_prompt,
                max_tokens=self._local.max_tokens,
                temperature=self._local.temperature,
            )
            return tuple(tuple(row) for row in answers)

        rows = _LOCAL.of(reference).get((name, seed, ordered, self._local), drawn)
        return [(number, text) for number, row in zip(numbers, rows, strict=True) for text in row]


def _number(item: Probed) -> int:
    return int(json.loads(item.probe.expected_json)["prompt"])
