"""`border-greedy/1`: asks for one token at temperature 0 where the reference hesitates.

Any endpoint will do: no seed, no log-probabilities, no sampler are needed.
"""

from collections.abc import Sequence

from audit.records import SamplingRequest
from audit.sweep_records import Endpoint, Probe, Probed, Reading
from audit.sweeps.border.calibrate import bounds_for
from audit.sweeps.border.planning import Asking, BorderSettings, best_probes, spread_probes
from audit.sweeps.border.pool import Ground, greedy_spots
from audit.sweeps.border.reading import TIER, read_border
from audit.sweeps.detector import Section, Tools

DETECTOR_ID = "border-greedy/1"


class GreedyBorder:
    """Plans and reads near-ties of the greedy choice.

    Raises: CalibrationError for a section that is not this detector's, or not for these candidates.
    """

    def __init__(
        self, tools: Tools, section: Section | None, settings: BorderSettings | None = None
    ) -> None:
        self._tools = tools
        self._settings = settings or BorderSettings()
        self._bounds = bounds_for(section, DETECTOR_ID, tools.candidates)

    @property
    def detector_id(self) -> str:
        """The detector's versioned name."""
        return DETECTOR_ID

    @property
    def tier(self) -> int:
        """Replay."""
        return TIER

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return the probes that tell most; without a calibration, probes for measuring one."""
        settings = self._settings
        ground = Ground(
            reference=self._tools.reference,
            candidates=self._tools.candidates,
            texts=self._tools.texts,
            api=endpoint.api,
            settings=settings.pool,
        )
        asking = Asking(
            detector_id=DETECTOR_ID,
            ground=ground,
            as_token_ids=endpoint.offers_token_ids,
            sampling=SamplingRequest(temperature=0.0, top_p=1.0, max_tokens=1),
        )
        windows = greedy_spots(ground, seed, settings.num_windows(num_probes, endpoint.api))
        if self._bounds is None:
            return spread_probes(asking, windows, num_probes)
        return best_probes(asking, windows, num_probes, self._bounds.bound_C, settings)

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return what the answers so far say."""
        return read_border(
            DETECTOR_ID,
            probed,
            self._bounds,
            power=self._tools.power,
            log_threshold_nats=self._tools.log_threshold_nats,
        )
