"""Measures what honest endpoints look like to the log-probability detectors."""

from collections.abc import Callable, Sequence

from audit.errors import CalibrationError
from audit.sweep_records import Probed
from audit.sweeps.detector import HonestAnswers, Section, Tools
from audit.sweeps.logprobs.compare import Scorer
from audit.sweeps.logprobs.detector import kl_law, kl_members, tracking_law, tracking_members
from audit.sweeps.logprobs.detector_binding import (
    binding_law,
    binding_members,
    sampled_log_e,
    weigh_binding,
)
from audit.sweeps.logprobs.law import MIN_ANSWERS, count_above
from audit.sweeps.logprobs.measure import Measured, measure_kl, measure_tracking
from audit.sweeps.logprobs.plan import LogprobSettings
from audit.sweeps.logprobs.sections import check_error


class KlCalibrator:
    """Counts how often honest divergences exceed each threshold."""

    def __init__(self, tools: Tools, settings: LogprobSettings | None = None) -> None:
        self._tools = tools
        self._settings = settings or LogprobSettings()

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return the section of `logprob-kl/1`. Raises: CalibrationError."""
        section = {
            **kl_members(self._settings),
            **_fitted(self._tools, honest, error, measure_kl),
        }
        kl_law(section, self._settings)
        return section


class TrackingCalibrator:
    """Counts how often honest mean differences exceed each threshold."""

    def __init__(self, tools: Tools, settings: LogprobSettings | None = None) -> None:
        self._tools = tools
        self._settings = settings or LogprobSettings()

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return the section of `logprob-tracking/1`. Raises: CalibrationError."""
        section = {
            **tracking_members(self._settings),
            **_fitted(self._tools, honest, error, measure_tracking),
        }
        tracking_law(section, self._settings)
        return section


class BindingCalibrator:
    """Counts greedy answers that are not the favourite, and checks that draws follow the law."""

    def __init__(self, tools: Tools, settings: LogprobSettings | None = None) -> None:
        self._tools = tools
        self._settings = settings or LogprobSettings()

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return the section of `logprob-binding/1`.

        Raises: CalibrationError, also where an honest variant's draws do not follow the
        log-probabilities that it returns: this detector is not for such engines.
        """
        check_error(error)
        scorer = Scorer(self._tools.reference)
        variants: dict[str, object] = {}
        for name, probed in honest.items():
            weighed = weigh_binding(probed, scorer, ())
            greedy = [answer.is_violation for answer in weighed if answer.is_greedy]
            if len(greedy) < MIN_ANSWERS or len(weighed) - len(greedy) < MIN_ANSWERS:
                raise CalibrationError(
                    f"variant {name} gave {len(greedy)} greedy and {len(weighed) - len(greedy)} "
                    f"sampled answers; at least {MIN_ANSWERS} of each are needed"
                )
            # the chance that this refuses an engine that is right about itself is below 1e-4
            if sampled_log_e(weighed) > _LOG_REFUSAL:
                raise CalibrationError(
                    f"the draws of variant {name} do not follow the log-probabilities that it "
                    "returns; leave logprob-binding/1 out for this engine"
                )
            variants[name] = {"num": len(greedy), "violations": sum(greedy)}
        section = {**binding_members(self._settings), "error": error, "variants": variants}
        binding_law(section, self._settings)
        return section


_LOG_REFUSAL = 9.3


def _fitted(
    tools: Tools,
    honest: HonestAnswers,
    error: float,
    measure: Callable[[Sequence[Probed], Scorer], Measured],
) -> dict[str, object]:
    check_error(error)
    scorer = Scorer(tools.reference)
    distances = {name: measure(probed, scorer).distances for name, probed in honest.items()}
    return {"error": error, "variants": count_above(distances)}
