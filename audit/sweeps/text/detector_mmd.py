"""Detector `text-mmd/1`: whether answers to a few prompts, asked often, have the reference's law.

The plan is cut into blocks of prompts. Once all answers of a block are in, they are compared with
as many local ones, drawn then with a seed of the plan, by a permutation test within prompts; its
p-value is turned into an e-value, and those of blocks multiply, because every block has prompts and
local answers of its own. With several honest references the largest p-value counts: all of them
must be contradicted. Source of the test: "Model equality testing" (arXiv 2410.20247); there it is
done once, at a fixed size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.ports import ProbeReference
from audit.records import Prompt, SamplingRequest
from audit.sweep_records import (
    Endpoint,
    Probe,
    Probed,
    ProbeKind,
    Reading,
    ReadingStatus,
)
from audit.sweeps.detector import Section, Tools
from audit.sweeps.probe import make_probe
from audit.sweeps.text import power, samples
from audit.sweeps.text.blocks import (
    JUDGED_KERNELS,
    REPORTED_KERNELS,
    Blocks,
    BlockTest,
    LocalSettings,
)
from audit.sweeps.text.calibrate import SectionReader

Float64Array = NDArray[np.float64]

MMD_ID = "text-mmd/1"

#: How the local answers of the claimed model itself are called in a probe.
_CLAIMED = "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdSettings:
    """How much is asked and compared; a calibration holds for its own settings only."""

    answers_per_prompt: int = 10
    prompts_per_block: int = 5
    max_tokens: int = 32
    temperature: float = 1.0
    num_permutations: int = 5000

    def members(self) -> dict[str, object]:
        """Return the settings as JSON members."""
        return {
            "answersPerPrompt": self.answers_per_prompt,
            "promptsPerBlock": self.prompts_per_block,
            "maxTokens": self.max_tokens,
            "temperature": self.temperature,
            "numPermutations": self.num_permutations,
        }


class TextMmd:
    """Compares samples of answers block by block; see the module."""

    detector_id = MMD_ID
    tier = 3

    def __init__(
        self,
        tools: Tools,
        section: Section | None = None,
        settings: MmdSettings | None = None,
        variants: Mapping[str, ProbeReference] | None = None,
    ) -> None:
        """Take further honest references as `variants`, such as another precision.

        Raises: CalibrationError for a section that is not one of this detector.
        """
        self._tools = tools
        self._settings = settings or MmdSettings()
        self._blocks = Blocks(
            {_CLAIMED: tools.reference, **(variants or {})},
            LocalSettings(
                per_prompt=self._settings.answers_per_prompt,
                max_tokens=self._settings.max_tokens,
                temperature=self._settings.temperature,
            ),
            self._settings.num_permutations,
        )
        self._bounds = None if section is None else _read_section(section, self._settings)

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return whole prompts only, each repeated; fewer where the texts are used up."""
        settings = self._settings
        prompts = samples.cut_prompts(
            self._tools.reference,
            self._tools.texts,
            endpoint.api,
            seed,
            num_prompts=num_probes // settings.answers_per_prompt,
            max_tokens=settings.max_tokens,
        )
        probes: list[Probe] = []
        for start in range(0, len(prompts), settings.prompts_per_block):
            numbers = range(start, min(start + settings.prompts_per_block, len(prompts)))
            # one prompt's repetitions lie apart, as those of different users would
            for repeat in range(settings.answers_per_prompt):
                for number in numbers:
                    probes.append(
                        self._probe(endpoint, prompts[number], seed, number, repeat, len(numbers))
                    )
        return tuple(probes)

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return the evidence of the blocks that are complete; it stands still within a block."""
        if self._bounds is None:
            return Reading(
                detector=MMD_ID,
                tier=self.tier,
                status=ReadingStatus.UNCALIBRATED,
                reason="no bundle says how honest text compares for this model",
                num_sent=len(probed),
            )
        blocks = self.blocks(probed)
        num_used = sum(block.num_used for _, block in blocks)
        status = ReadingStatus.READ if any(b.tests for _, b in blocks) else ReadingStatus.TOO_LITTLE
        log_e_N: list[float] = []
        total = 0.0
        for is_complete, block in blocks:
            log_e_N += [total] * block.num_used
            if is_complete and block.num_used:
                total += block.log_e(self._bounds.inflation)
                log_e_N[-1] = total
        return Reading(
            detector=MMD_ID,
            tier=self.tier,
            status=status,
            reason="" if status is ReadingStatus.READ else "no block of answers is complete",
            log_e_nats_N=tuple(log_e_N),
            num_sent=len(probed),
            num_used=num_used,
            statistics=self._statistics([block for _, block in blocks]),
            visible=power.visible(self._bounds.power, num_used, power=self._tools.power),
            notes=(
                "The evidence moves once a block is complete. Honest p-values were counted down to "
                "1 in 5; below, they are taken to be as frequent as there.",
            ),
        )

    def blocks(self, probed: Sequence[Probed]) -> list[tuple[bool, BlockTest]]:
        """Return each block in the plan's order, with whether all of it was sent."""
        return self._blocks.read([item for item in probed if item.probe.detector == MMD_ID])

    def _statistics(self, blocks: Sequence[BlockTest]) -> tuple[tuple[str, float], ...]:
        tested = [block.tests for block in blocks if block.tests is not None]
        return tuple(
            (f"{label}:{kernel}", value)
            for kernel in (*JUDGED_KERNELS, *REPORTED_KERNELS)
            if tested
            for label, value in (
                ("mean_mmd_squared", float(np.mean([tests[kernel].statistic for tests in tested]))),
                ("smallest_p", min(tests[kernel].p_value for tests in tested)),
            )
        )

    def _probe(
        self,
        endpoint: Endpoint,
        prompt: Prompt,
        seed: bytes,
        number: int,
        repeat: int,
        num_prompts: int,
    ) -> Probe:
        settings = self._settings
        block = number // settings.prompts_per_block
        return make_probe(
            kind=ProbeKind.TEXT,
            detector=MMD_ID,
            # answers of several plans may be read together, so a block names its plan
            group=f"block-{samples.derived_seed(seed, 'plan'):08x}-{block}",
            api=endpoint.api,
            prompt=prompt,
            sampling=SamplingRequest(
                temperature=settings.temperature,
                top_p=1.0,
                top_k=0,
                seed=samples.derived_seed(seed, f"sent {number} {repeat}"),
                max_tokens=settings.max_tokens,
            ),
            expected={
                "prompt": number,
                "size": num_prompts * settings.answers_per_prompt,
                "localSeed": samples.secret_seed(seed, f"block {block}"),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdBounds:
    """A section as read."""

    inflation: float
    power: power.PowerTable


def _read_section(section: Section, settings: MmdSettings) -> MmdBounds:
    reader = SectionReader(section, MMD_ID)
    reader.members("settings", "variants", "inflation", "power").settings(settings.members())
    return MmdBounds(inflation=reader.number("inflation", 1.0, 1e3), power=power.read_power(reader))
