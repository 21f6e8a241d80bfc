"""The calibration file of billing audits: all laws that honest requests were found to follow.

One JSON file, named by the SHA-256 of its bytes. It holds numbers and hashed words, no prompt and
no answer. Made by `inference-audit tokens calibrate`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import rfc8785

from audit.errors import CalibrationError
from audit.hidden_tokens.estimator.predict import Estimator
from audit.hidden_tokens.opaque import OpaqueLaws
from audit.hidden_tokens.reference_sampling import RankChannel
from audit.hidden_tokens.timing import SpeedLaws

MEDIA_TYPE = "application/vnd.inference-audit.billing-calibration.v1+json"

#: A booster with residuals of a hundred cells takes a few megabytes.
MAX_FILE_BYTES = 256 << 20

_MEMBERS = ("mediaType", "sources", "rank", "timing", "opaque", "estimator")

#: Without a file, ranks are placed among their ties by this salt.
DEFAULT_SALT = "inference-audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingCalibration:
    """Everything that reads a channel; a law that is None was not calibrated."""

    calibration_id: str = ""
    """`sha256:<hex>` of the file; empty where there is none."""
    rank: RankChannel = field(default_factory=lambda: RankChannel(salt=DEFAULT_SALT))
    timing: SpeedLaws | None = None
    opaque: OpaqueLaws | None = None
    estimator: Estimator | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where the honest requests came from, by file name and digest."""


def dump_billing_calibration(calibration: BillingCalibration) -> bytes:
    """Return the file's bytes; the id is their digest, so that it is not among them."""
    timing, opaque, estimator = calibration.timing, calibration.opaque, calibration.estimator
    document = {
        "mediaType": MEDIA_TYPE,
        "sources": dict(calibration.sources),
        "rank": calibration.rank.to_json(),
        "timing": None if timing is None else timing.to_json(),
        "opaque": None if opaque is None else opaque.to_json(),
        "estimator": None if estimator is None else estimator.to_json(),
    }
    return rfc8785.dumps(document)  # type: ignore[arg-type]


def load_billing_calibration(path: Path) -> BillingCalibration:
    """Return the calibration of a file. Raises: CalibrationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise CalibrationError(f"{path} is larger than any calibration: name another file")
    try:
        return parse_billing_calibration(content)
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from error


def parse_billing_calibration(content: bytes) -> BillingCalibration:
    """Return the calibration that these bytes hold. Raises: CalibrationError."""
    members = _members(content)
    identity = f"sha256:{hashlib.sha256(content).hexdigest()}"
    timing, opaque, estimator = (members[name] for name in ("timing", "opaque", "estimator"))
    sources = members["sources"]
    if not isinstance(sources, dict) or not all(isinstance(one, str) for one in sources.values()):
        raise CalibrationError("sources must name files and their digests")
    return BillingCalibration(
        calibration_id=identity,
        rank=RankChannel.from_json(members["rank"]),
        timing=None if timing is None else SpeedLaws.from_json(timing, identity),
        opaque=None if opaque is None else OpaqueLaws.from_json(opaque, identity),
        estimator=(
            None if estimator is None else Estimator.from_json(estimator, calibration_id=identity)
        ),
        sources=sources,
    )


def _members(content: bytes) -> dict[str, object]:
    try:
        document = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CalibrationError(
            f"this is no JSON ({error}): make it with `inference-audit tokens calibrate`"
        ) from error
    if not isinstance(document, dict) or document.get("mediaType") != MEDIA_TYPE:
        raise CalibrationError(
            "this is no billing calibration: make one with `inference-audit tokens calibrate`"
        )
    if document.keys() != set(_MEMBERS):
        raise CalibrationError(
            f"it must hold exactly {', '.join(_MEMBERS)}: another version made it, calibrate again"
        )
    return document


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not a finite number")
