"""Builds a calibration from honest exchanges, one at a time.

Keeps deviations only, never prompts or answers.
"""

from dataclasses import asdict, dataclass, field

import numpy as np

from audit.errors import CalibrationError
from audit.judge.calibration import Calibration, StratumKey, seal_calibration, stratum_key
from audit.judge.deviation import MARGIN_CLIP_LOGITS, clipped_deviation_R
from audit.judge.null_law import MIN_WINDOWS, ExchangeDeviations
from audit.records import Measurement

#: Honest traffic on a matching sampler agrees on nearly every token; below this share the
#: recording, the profile or the checkpoint is wrong, and calibrating on it would let cheats pass.
MIN_HONEST_MATCH_SHARE = 0.9


@dataclass(slots=True)
class _Growing:
    exchanges: list[ExchangeDeviations] = field(default_factory=list)
    temperatures: list[float] = field(default_factory=list)
    has_top_k: bool = False
    has_top_p: bool = False
    num_tokens: int = 0
    num_matches: int = 0


class CalibrationCollector:
    """Takes honest evidence and returns the calibration."""

    def __init__(self, *, false_alarm_rate: float, confidence: float) -> None:
        if not 0.0 < false_alarm_rate < 0.5 or not 0.5 <= confidence < 1.0:
            raise CalibrationError(
                "the false-alarm rate must lie in (0, 0.5), the confidence in [0.5, 1)"
            )
        self._rate = false_alarm_rate
        self._confidence = confidence
        self._strata: dict[StratumKey, _Growing] = {}
        self._model_digest: str | None = None

    def add(self, measured: Measurement) -> None:
        """Count one honest exchange, under the candidate profile that explains it best.

        Raises: CalibrationError where it was replayed on another checkpoint than those before.
        """
        plan, info = measured.plan, measured.info
        if self._model_digest not in (None, info.model_digest):
            raise CalibrationError(
                f"the traffic is of two checkpoints, {self._model_digest} and {info.model_digest}; "
                "calibrate each by itself"
            )
        evidence = max(measured.evidences, key=lambda e: e.num_matches)
        self._model_digest = info.model_digest
        key = stratum_key(plan, evidence.profile_id, info.precision)
        stratum = self._strata.setdefault(key, _Growing())
        deviations_R = clipped_deviation_R(evidence)
        positions = np.flatnonzero(deviations_R)
        stratum.exchanges.append(
            ExchangeDeviations(
                num_tokens=evidence.num_tokens,
                positions=tuple(int(p) for p in positions),
                deviations_logits=tuple(float(d) for d in deviations_R[positions]),
            )
        )
        sampling = plan.sequence.sampling
        stratum.temperatures.append(sampling.temperature)
        stratum.has_top_k |= sampling.top_k > 0
        stratum.has_top_p |= sampling.top_p < 1.0
        stratum.num_tokens += evidence.num_tokens
        stratum.num_matches += evidence.num_matches

    def finish(self, created_at: str) -> tuple[Calibration, tuple[str, ...]]:
        """Return the calibration, and a warning for each kind of exchange too rare to keep.

        Raises: CalibrationError where nothing is left, or where the traffic does not look honest.
        """
        kept, warnings = [], []
        for key, stratum in self._strata.items():
            share = stratum.num_matches / max(1, stratum.num_tokens)
            if len(stratum.exchanges) < MIN_WINDOWS:
                warnings.append(
                    f"{key}: {len(stratum.exchanges)} exchanges are too few, {MIN_WINDOWS} are "
                    "needed; left out"
                )
            elif share < MIN_HONEST_MATCH_SHARE and key.ids_inferred:
                warnings.append(
                    f"{key}: the reference agrees on {share:.1%} of the tokens only, as other "
                    "tokens may spell the same text; left out"
                )
            elif share < MIN_HONEST_MATCH_SHARE:
                raise CalibrationError(
                    f"{key}: the reference agrees on {share:.1%} of the tokens only. Honest "
                    "traffic agrees on nearly "
                    "all: is this the right checkpoint, precision and sampler profile?"
                )
            else:
                kept.append(self._body(key, stratum))
        if not kept or self._model_digest is None:
            raise CalibrationError(
                f"no kind of exchange has the {MIN_WINDOWS} honest exchanges that are needed"
                + "".join(f"\n  {w}" for w in warnings)
            )
        body = {
            "created_at": created_at,
            "model_digest": self._model_digest,
            "margin_clip_logits": MARGIN_CLIP_LOGITS,
            "false_alarm_rate": self._rate,
            "confidence": self._confidence,
            "strata": kept,
        }
        return seal_calibration(body), tuple(warnings)

    def _body(self, key: StratumKey, stratum: _Growing) -> dict[str, object]:
        exchanges = [
            {
                **asdict(e),
                "positions": list(e.positions),
                "deviations_logits": list(e.deviations_logits),
            }
            for e in stratum.exchanges
        ]
        return {
            "key": asdict(key),
            "temperature_min": min(stratum.temperatures),
            "temperature_max": max(stratum.temperatures),
            "has_top_k": stratum.has_top_k,
            "has_top_p": stratum.has_top_p,
            "num_tokens": stratum.num_tokens,
            "num_matches": stratum.num_matches,
            "exchanges": exchanges,
        }
