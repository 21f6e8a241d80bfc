"""Checks on honest endpoints that `text-mmd/1` keeps its promise, and what it would find.

Permutation p-values of honest blocks are counted at levels that occur often enough. Where they are
small more often than they should be, beyond chance, the variant's text differs and the detector is
refused for this model; otherwise the upper limit of the excess inflates every p-value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.errors import CalibrationError
from audit.judge.intervals import lower_limit, upper_limit
from audit.ports import ProbeReference
from audit.sweep_records import Probed
from audit.sweeps.detector import HonestAnswers, Section, Tools
from audit.sweeps.text import calibrate, power
from audit.sweeps.text.blocks import JUDGED_KERNELS, BlockTest
from audit.sweeps.text.detector_mmd import MMD_ID, MmdSettings, TextMmd
from audit.sweeps.text.samples import derived_rng

Float64Array = NDArray[np.float64]

#: How small p-values are counted; honest ones are as small with this very probability.
LEVELS = (0.5, 0.2)

#: Fewer blocks of a variant say next to nothing.
MIN_BLOCKS = 10

_NUM_STREAMS = 200

#: Blocks after which an attack counts as not to be found.
_MAX_BLOCKS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdCalibrator:
    """Measures how often honest blocks look unlike the reference."""

    tools: Tools
    settings: MmdSettings = field(default_factory=MmdSettings)
    variants: Mapping[str, ProbeReference] = field(default_factory=dict)
    attacks: HonestAnswers | None = None
    """Answers of substitutes, for the power; None draws them from the candidates.

    Shares are tried out where an honest variant answered the same plan.
    """

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return the inflation of p-values, right for all variants with probability 1 - error.

        Raises: CalibrationError, also where a variant's text provably differs.
        """
        calibrate.check_error(error)
        detector = TextMmd(self.tools, None, self.settings, self.variants)
        blocks = {name: _tested(detector, probed) for name, probed in honest.items()}
        num_blocks = {name: len(tested) for name, tested in blocks.items()}
        calibrate.require_answers(num_blocks, MIN_BLOCKS)
        # each count has two limits
        share = error / (2 * len(blocks) * len(LEVELS) * len(JUDGED_KERNELS))
        inflation = max(
            _inflation(name, kernel, tested, share)
            for name, tested in blocks.items()
            for kernel in JUDGED_KERNELS
        )
        size = self.settings.answers_per_prompt * self.settings.prompts_per_block
        attacks = calibrate.attacks_on(
            self.attacks, honest, self.tools.candidates, MMD_ID, most=MIN_BLOCKS * size
        )
        table = {
            name: self._needed(detector, probed, honest, inflation)
            for name, probed in attacks.items()
        }
        return {
            "settings": self.settings.members(),
            "variants": dict(sorted(num_blocks.items())),
            "inflation": inflation,
            "power": power.power_json(table),
        }

    def _needed(
        self,
        detector: TextMmd,
        attack: Sequence[Probed],
        honest: HonestAnswers,
        inflation: float,
    ) -> list[int | None]:
        answers = {item.probe.probe_id: item for probed in honest.values() for item in probed}
        size = self.settings.answers_per_prompt * self.settings.prompts_per_block
        needed: list[int | None] = []
        for share in power.SHARES:
            rng = derived_rng(b"mixture", f"{share}")
            mixed = [
                item if rng.random() < share else answers.get(item.probe.probe_id)
                for item in attack
            ]
            known = [item for item in mixed if item is not None]
            tested = _tested(detector, known) if len(known) == len(attack) else []
            num_blocks = self._blocks_needed(tested, inflation)
            needed.append(None if num_blocks is None else num_blocks * size)
        return needed

    def _blocks_needed(self, tested: Sequence[BlockTest], inflation: float) -> int | None:
        if len(tested) < MIN_BLOCKS // 2:
            return None
        log_e = np.asarray([block.log_e(inflation) for block in tested])
        rng = derived_rng(b"streams", "mmd")
        drawn = log_e[rng.integers(len(log_e), size=(_NUM_STREAMS, _MAX_BLOCKS))]
        best = np.maximum.accumulate(np.cumsum(drawn, axis=1), axis=1)
        decided = (best >= self.tools.log_threshold_nats).mean(axis=0) >= self.tools.power
        return int(decided.argmax()) + 1 if decided.any() else None


def _tested(detector: TextMmd, probed: Sequence[Probed]) -> list[BlockTest]:
    """Return the complete blocks; plans that follow one another are kept apart by their ids."""
    return [block for _, block in detector.blocks(probed) if block.tests is not None]


def _inflation(name: str, kernel: str, tested: Sequence[BlockTest], share: float) -> float:
    p_values = np.asarray([block.tests[kernel].p_value for block in tested if block.tests])
    worst = 1.0
    for level in LEVELS:
        num_below = int((p_values <= level).sum())
        if float(lower_limit(num_below, len(p_values), share)) > level:
            raise CalibrationError(
                f"text of the honest variant {name!r} differs from the reference's: {num_below} "
                f"of {len(p_values)} blocks have p <= {level:g} under the kernel {kernel}. Add a "
                "reference that answers as it does, or leave the detector text-mmd/1 out"
            )
        worst = max(worst, float(upper_limit(num_below, len(p_values), share)) / level)
    return worst
