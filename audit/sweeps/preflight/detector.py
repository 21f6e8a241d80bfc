"""`preflight/1`: finds a wrong set-up before anybody speaks of substitution."""

from collections.abc import Sequence
from dataclasses import replace

from audit.sweep_records import AnswerStatus, Endpoint, Probe, Probed, Reading, ReadingStatus
from audit.sweeps.detector import Tools
from audit.sweeps.preflight.answers import check_identity, check_logprobs, check_names
from audit.sweeps.preflight.cache import check_cache
from audit.sweeps.preflight.checks import Checked
from audit.sweeps.preflight.local import LocalModel
from audit.sweeps.preflight.parameters import (
    check_entropy,
    check_greedy,
    check_lengths,
    check_seeds,
    check_stops,
)
from audit.sweeps.preflight.plan import PREFLIGHT_ID, plan_preflight
from audit.sweeps.preflight.tokens import check_prompts, check_usage


class Preflight:
    """Asks for one setting after another and compares; it needs no calibration."""

    detector_id = PREFLIGHT_ID
    tier = 0

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._local = LocalModel(tools.reference)

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return a few requests for each check, whole checks only."""
        return plan_preflight(endpoint, self._tools.reference, self._tools.texts, seed, num_probes)

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return what is set up otherwise than asked; there is no evidence in it."""
        num_used = sum(item.answer.status is AnswerStatus.ANSWERED for item in probed)
        reading = Reading(
            detector=PREFLIGHT_ID,
            tier=self.tier,
            status=ReadingStatus.READ,
            num_sent=len(probed),
            num_used=num_used,
        )
        if not num_used:
            return replace(
                reading,
                status=ReadingStatus.TOO_LITTLE,
                reason="No request of the pre-flight was answered.",
            )
        checked = self._check(endpoint, probed)
        # two checks may find one cause, and kept answers look like a temperature of 0
        findings = {f.check: f for found in checked for f in found.findings}
        if "response-cache" in findings:
            findings.pop("temperature-1", None)
        return replace(
            reading,
            misconfigurations=tuple(findings.values()),
            statistics=tuple(pair for found in checked for pair in found.statistics),
            notes=tuple(note for found in checked for note in found.notes),
        )

    def _check(self, endpoint: Endpoint, probed: Sequence[Probed]) -> list[Checked]:
        local = self._local
        return [
            check_prompts(probed, local),
            check_usage(probed),
            check_lengths(probed, local),
            check_stops(probed),
            check_greedy(probed, local),
            check_entropy(probed, local),
            check_seeds(endpoint, probed, local),
            check_cache(probed, local),
            check_logprobs(probed, local),
            check_names(endpoint, probed),
            check_identity(probed),
        ]
