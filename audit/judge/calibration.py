"""Calibrations: what honest traffic looks like for one checkpoint, as data with a digest.

A calibration holds one stratum for each kind of exchange (sampler profile, precision, greedy or
sampled, token ids given or inferred). An exchange is judged only by its own kind; without one the
verdict is INCONCLUSIVE(uncalibrated).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rfc8785

from audit.codec.limits import MAX_TOKENS
from audit.errors import CalibrationError, CannotJudge
from audit.judge.deviation import MARGIN_CLIP_LOGITS
from audit.judge.null_law import ExchangeDeviations
from audit.records import Reason, ReplayPlan

FORMAT = "inference-audit/calibration/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumKey:
    """The kinds of exchanges whose honest deviations differ too much to be pooled."""

    profile_id: str
    precision: str
    is_greedy: bool
    ids_inferred: bool

    def __str__(self) -> str:
        """Return the kind in words."""
        sampling = "greedy" if self.is_greedy else "sampled"
        ids = ", token ids inferred from text" if self.ids_inferred else ""
        return f"{self.profile_id}, {self.precision}, {sampling}{ids}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Honest exchanges of one kind, and the sampling parameters that they cover."""

    key: StratumKey
    temperature_min: float
    temperature_max: float
    has_top_k: bool
    has_top_p: bool
    num_tokens: int
    num_matches: int
    exchanges: tuple[ExchangeDeviations, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Honest traffic of one checkpoint, reduced to deviations.

    `calibration_id` is the digest of all the rest.
    """

    calibration_id: str
    created_at: str
    model_digest: str
    margin_clip_logits: float
    false_alarm_rate: float
    """A further honest exchange is failed with this probability at most."""
    confidence: float
    """How sure that bound is, over the choice of the calibration traffic."""
    strata: tuple[Stratum, ...]

    def stratum_for(
        self, plan: ReplayPlan, profile_id: str, precision: str, digest: str
    ) -> Stratum:
        """Return the stratum that covers an exchange.

        Raises: CannotJudge where there is none, or where its parameters lie outside what was
        calibrated.
        """
        if self.model_digest != digest:
            raise CannotJudge(
                Reason.UNCALIBRATED,
                f"the calibration is for model {self.model_digest}, the reference is {digest}; "
                "calibrate this model",
            )
        key = stratum_key(plan, profile_id, precision)
        stratum = next((s for s in self.strata if s.key == key), None)
        if stratum is None:
            known = "; ".join(str(s.key) for s in self.strata)
            raise CannotJudge(
                Reason.UNCALIBRATED,
                f"no honest traffic of this kind was calibrated: {key}. Calibrated are: {known}",
            )
        _check_cover(stratum, plan)
        return stratum


def stratum_key(plan: ReplayPlan, profile_id: str, precision: str) -> StratumKey:
    """Return the kind of an exchange."""
    return StratumKey(
        profile_id=profile_id,
        precision=precision,
        is_greedy=plan.sequence.sampling.is_greedy,
        ids_inferred=plan.ids_inferred,
    )


def _check_cover(stratum: Stratum, plan: ReplayPlan) -> None:
    sampling = plan.sequence.sampling
    if sampling.is_greedy:
        return
    outside = []
    if not stratum.temperature_min <= sampling.temperature <= stratum.temperature_max:
        outside.append(
            f"temperature {sampling.temperature:g} (calibrated {stratum.temperature_min:g} to "
            f"{stratum.temperature_max:g})"
        )
    if sampling.top_k > 0 and not stratum.has_top_k:
        outside.append("top_k")
    if sampling.top_p < 1.0 and not stratum.has_top_p:
        outside.append("top_p")
    if outside:
        raise CannotJudge(
            Reason.OUTSIDE_CALIBRATION,
            f"the calibration holds no honest traffic with such {' and '.join(outside)}; add "
            "some to it",
        )


def seal_calibration(body: Mapping[str, Any]) -> Calibration:
    """Return the calibration of a body without id, with its digest as id.

    Raises: CalibrationError.
    """
    try:
        digest = hashlib.sha256(rfc8785.dumps(dict(body))).hexdigest()
        calibration = Calibration(
            calibration_id=f"sha256:{digest}",
            created_at=body["created_at"],
            model_digest=body["model_digest"],
            margin_clip_logits=float(body["margin_clip_logits"]),
            false_alarm_rate=float(body["false_alarm_rate"]),
            confidence=float(body["confidence"]),
            strata=tuple(_stratum(s) for s in body["strata"]),
        )
        if not (0.0 < calibration.false_alarm_rate < 1.0 and 0.0 < calibration.confidence < 1.0):
            raise ValueError("false_alarm_rate and confidence must lie between 0 and 1")
        return calibration
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CalibrationError(
            f"the calibration is malformed ({error!r}); make a new one with `inference-audit "
            "calibrate`"
        ) from error


def _stratum(body: Mapping[str, Any]) -> Stratum:
    exchanges = []
    for item in body["exchanges"]:
        exchange = ExchangeDeviations(
            num_tokens=int(item["num_tokens"]),
            positions=tuple(int(p) for p in item["positions"]),
            deviations_logits=tuple(float(d) for d in item["deviations_logits"]),
        )
        _check_exchange(exchange)
        exchanges.append(exchange)
    fields = {k: v for k, v in body.items() if k not in {"key", "exchanges"}}
    stratum = Stratum(key=StratumKey(**body["key"]), exchanges=tuple(exchanges), **fields)
    if not exchanges or not 0.0 <= stratum.temperature_min <= stratum.temperature_max:
        raise ValueError("a stratum needs exchanges and the range of their temperatures")
    return stratum


def _check_exchange(exchange: ExchangeDeviations) -> None:
    in_range = all(0 <= p < exchange.num_tokens for p in exchange.positions)
    if not in_range or len(exchange.positions) != len(exchange.deviations_logits):
        raise ValueError("positions and deviations do not fit together")
    if not 1 <= exchange.num_tokens <= MAX_TOKENS:
        raise ValueError(f"an exchange of {exchange.num_tokens} tokens")
    if not all(0.0 <= d <= MARGIN_CLIP_LOGITS for d in exchange.deviations_logits):
        raise ValueError("a deviation lies outside 0 and the clip")


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration as JSON. Raises: CalibrationError where the file cannot be written."""
    body = {"format": FORMAT, **asdict(calibration)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(body, indent=None, separators=(",", ":")) + "\n", encoding="utf-8"
        )
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}") from error


def load_calibration(path: Path) -> Calibration:
    """Read a calibration and check its digest. Raises: CalibrationError."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"cannot read the calibration {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"the calibration {path} is not valid JSON: {error}") from error
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise CalibrationError(f"{path} is no calibration of format {FORMAT}")
    stated = body.pop("calibration_id", None)
    calibration = seal_calibration(body)
    if calibration.calibration_id != stated:
        raise CalibrationError(
            f"{path} was changed after it was made: its id says {stated}, its content is "
            f"{calibration.calibration_id}"
        )
    if calibration.margin_clip_logits != MARGIN_CLIP_LOGITS:
        raise CalibrationError(
            f"{path} clips margins at {calibration.margin_clip_logits}, this version at "
            f"{MARGIN_CLIP_LOGITS}; "
            "calibrate anew"
        )
    return calibration
