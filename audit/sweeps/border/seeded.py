"""`border-seeded/1`: asks with seeds that bring a known sampler close to a tie.

Seeds are searched until the two best noised scores of the reference lie close together. Any
temperature will do, prompts look like any user's, and there is no end of them.
"""

from collections.abc import Sequence

from audit.records import SamplingRequest
from audit.sweep_records import ApiStyle, Endpoint, Probe, Probed, Reading, ReadingStatus
from audit.sweeps.border.calibrate import bounds_for
from audit.sweeps.border.planning import Asking, BorderSettings, best_probes, spread_probes
from audit.sweeps.border.pool import Ground, seeded_spots
from audit.sweeps.border.reading import TIER, read_border
from audit.sweeps.detector import Section, Tools
from reference_runner.records import Sampling
from reference_runner.samplers.choose import choose_profiles

DETECTOR_ID = "border-seeded/1"


class SeededBorder:
    """Plans and reads near-ties of seeded draws.

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
        """Return the probes that tell most; none where the endpoint's sampler is not known.

        Without a calibration, probes for measuring one. Raises: UnsupportedProfile where the
        endpoint names a profile that does not exist or cannot run here.
        """
        profile_id, _ = profile_of(endpoint)
        if profile_id is None:
            return ()
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
            # servers may have defaults of their own for what a request leaves open
            sampling=SamplingRequest(
                temperature=settings.temperature, top_k=0, top_p=1.0, max_tokens=1
            ),
        )
        sampling = Sampling(temperature=settings.temperature, top_k=0, top_p=1.0, seed=None)
        num_windows = settings.num_windows(num_probes, ApiStyle.COMPLETIONS)
        windows = seeded_spots(ground, seed, num_windows, sampling, profile_id)
        if self._bounds is None:
            return spread_probes(asking, windows, num_probes)
        return best_probes(asking, windows, num_probes, self._bounds.bound_C, settings)

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return what the answers so far say."""
        profile_id, explanation = profile_of(endpoint)
        if profile_id is None:
            return Reading(
                detector=DETECTOR_ID,
                tier=TIER,
                status=ReadingStatus.NOT_APPLICABLE,
                reason=f"the endpoint's sampler is not known: {explanation}",
                num_sent=len(probed),
            )
        return read_border(
            DETECTOR_ID,
            probed,
            self._bounds,
            power=self._tools.power,
            log_threshold_nats=self._tools.log_threshold_nats,
        )


def profile_of(endpoint: Endpoint) -> tuple[str | None, str]:
    """Return the one sampler profile that an endpoint has, or None, and why."""
    if endpoint.sampler_profile is not None:
        return endpoint.sampler_profile, "stated by the endpoint"
    choice = choose_profiles(
        engine=endpoint.engine,
        version=endpoint.engine_version,
        device=endpoint.device,
        system_fingerprint=None,
    )
    if len(choice.profile_ids) == 1:
        return choice.profile_ids[0], choice.explanation
    if choice.profile_ids:
        return None, f"{choice.explanation}; state `sampler_profile`"
    return None, choice.explanation
