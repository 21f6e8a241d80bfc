"""Calibrations on disk: JSON whose id is the digest of its content."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785

from audit.errors import CalibrationError
from audit.judge.bins import (
    NUM_BINS,
    NUM_BINS_PER_OCTAVE,
    SMALLEST_EDGE_STEPS,
    BinCounts,
    Int64Array,
)
from audit.judge.calibration import (
    FORMAT,
    Calibration,
    Holdout,
    Stratum,
    StratumKey,
    Variant,
)
from audit.judge.calls import FAR_MARGIN_STEPS, NUM_CONTEXT_TOKENS

#: A larger file is refused unread; a stratum takes a few kilobytes.
MAX_FILE_BYTES = 64 << 20

#: What the counts mean. A file made with other bins is refused, not reinterpreted.
BINNING = {
    "smallest_edge_steps": SMALLEST_EDGE_STEPS,
    "bins_per_octave": NUM_BINS_PER_OCTAVE,
    "num_bins": NUM_BINS,
    "far_margin_steps": FAR_MARGIN_STEPS,
    "num_context_tokens": NUM_CONTEXT_TOKENS,
}

_COUNTS = ("num_calls_B", "num_mismatches_B", "num_far_B")


def seal_calibration(
    *, created_at: str, model_digest: str, strata: Sequence[Stratum]
) -> Calibration:
    """Return the calibration of these strata, with the digest of its content as id."""
    body = _body(created_at, model_digest, strata)
    return Calibration(
        calibration_id=_digest(body),
        created_at=created_at,
        model_digest=model_digest,
        strata=tuple(strata),
    )


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration as JSON. Raises: CalibrationError where the file cannot be written."""
    body = _body(calibration.created_at, calibration.model_digest, calibration.strata)
    document = {"calibration_id": calibration.calibration_id, **body}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}") from error


def load_calibration(path: Path) -> Calibration:
    """Read a calibration and check its digest. Raises: CalibrationError."""
    document = _read(path)
    if document.get("format") != FORMAT:
        raise CalibrationError(
            f"{path} is no calibration of format {FORMAT}; make one with `inference-audit "
            "calibrate`"
        )
    if document.get("binning") != BINNING:
        raise CalibrationError(f"{path} counts in other bins than this version; calibrate anew")
    try:
        calibration = seal_calibration(
            created_at=_text(document["created_at"]),
            model_digest=_text(document["model_digest"]),
            strata=[_stratum(item) for item in document["strata"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CalibrationError(
            f"the calibration {path} is malformed ({error!r}); make a new one with "
            "`inference-audit calibrate`"
        ) from error
    _check_names(path, calibration)
    if calibration.calibration_id != document.get("calibration_id"):
        raise CalibrationError(
            f"{path} was changed after it was made: its id says {document.get('calibration_id')}, "
            f"its content is {calibration.calibration_id}; calibrate anew"
        )
    return calibration


def _check_names(path: Path, calibration: Calibration) -> None:
    """Refuse what is stated twice: verdicts would rest on the one or the other."""
    keys = [stratum.key for stratum in calibration.strata]
    twice = len(set(keys)) < len(keys)
    for stratum in calibration.strata:
        names = [variant.name for variant in stratum.variants]
        twice |= len(set(names)) < len(names)
    if twice:
        raise CalibrationError(
            f"{path} states a kind of exchange or a variant twice; calibrate anew"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CalibrationError(f"{path} is larger than any calibration; name another file")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"cannot read the calibration {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"the calibration {path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise CalibrationError(f"{path} is no calibration of format {FORMAT}")
    return document


def _digest(body: Mapping[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(rfc8785.dumps(dict(body))).hexdigest()}"


def _body(created_at: str, model_digest: str, strata: Sequence[Stratum]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "binning": BINNING,
        "created_at": created_at,
        "model_digest": model_digest,
        "strata": [_stratum_body(stratum) for stratum in strata],
    }


def _stratum_body(stratum: Stratum) -> dict[str, Any]:
    key = stratum.key
    return {
        "key": {
            "profile_id": key.profile_id,
            "precision": key.precision,
            "ids_inferred": key.ids_inferred,
        },
        "has_sampled": stratum.has_sampled,
        "has_top_k": stratum.has_top_k,
        "has_top_p": stratum.has_top_p,
        "variants": [_variant_body(variant) for variant in stratum.variants],
        "holdouts": [
            {
                "variant": h.variant,
                "num_exchanges": h.num_exchanges,
                "num_false_alarms": h.num_false_alarms,
                "false_alarm_rate": h.false_alarm_rate,
            }
            for h in stratum.holdouts
        ],
    }


def _variant_body(variant: Variant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "source": variant.source,
        "engines": list(variant.engines),
        "num_exchanges": variant.num_exchanges,
        "num_tokens": variant.num_tokens,
        "num_matches": variant.num_matches,
        "noise_logits": variant.noise_logits,
        **{name: getattr(variant.counts, name).tolist() for name in _COUNTS},
    }


def _stratum(body: Mapping[str, Any]) -> Stratum:
    key = body["key"]
    stratum = Stratum(
        key=StratumKey(
            profile_id=_text(key["profile_id"]),
            precision=_text(key["precision"]),
            ids_inferred=_flag(key["ids_inferred"]),
        ),
        has_sampled=_flag(body["has_sampled"]),
        has_top_k=_flag(body["has_top_k"]),
        has_top_p=_flag(body["has_top_p"]),
        variants=tuple(_variant(item) for item in body["variants"]),
        holdouts=tuple(_holdout(item) for item in body["holdouts"]),
    )
    if not stratum.variants:
        raise ValueError("a stratum without variants")
    return stratum


def _variant(body: Mapping[str, Any]) -> Variant:
    calls_B, mismatches_B, far_B = (_counts(body[name]) for name in _COUNTS)
    if (mismatches_B > calls_B).any() or (far_B > mismatches_B).any():
        raise ValueError("more mismatches than calls")
    noise = float(body["noise_logits"])
    if not 0.0 < noise < np.inf:
        raise ValueError(f"a noise of {noise} logits")
    return Variant(
        name=_text(body["name"]),
        source=_text(body["source"]),
        engines=tuple(_text(engine) for engine in body["engines"]),
        num_exchanges=int(body["num_exchanges"]),
        num_tokens=int(body["num_tokens"]),
        num_matches=int(body["num_matches"]),
        noise_logits=noise,
        counts=BinCounts(num_calls_B=calls_B, num_mismatches_B=mismatches_B, num_far_B=far_B),
    )


def _holdout(body: Mapping[str, Any]) -> Holdout:
    return Holdout(
        variant=_text(body["variant"]),
        num_exchanges=int(body["num_exchanges"]),
        num_false_alarms=int(body["num_false_alarms"]),
        false_alarm_rate=float(body["false_alarm_rate"]),
    )


def _counts(values: Any) -> Int64Array:
    if not isinstance(values, list) or len(values) != NUM_BINS:
        raise ValueError(f"{NUM_BINS} counts are expected")
    if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values):
        raise ValueError("a count is no whole number")
    return np.asarray(values, dtype=np.int64)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value
