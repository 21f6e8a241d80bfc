"""The folder of a trained estimating model: its adapters, its router, and its calibration.

    manifest.json     names everything else by digest, and the base model that it belongs to
    adapters/         as the training wrote them
    router.json       decides the domain where the client states none
    calibration.json  scores of honest requests, once it is calibrated

It holds weights, numbers and hashed words, no prompt and no answer.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from audit.errors import CalibrationError, ConfigurationError
from audit.hidden_tokens.estimator.files import json_count, json_object, json_text, json_texts
from audit.hidden_tokens.estimator.router import Router
from audit.hidden_tokens.palace.channel import PalaceCalibration
from audit.hidden_tokens.palace.prompts import PromptLimits

MEDIA_TYPE = "application/vnd.inference-audit.palace.v1+json"

MANIFEST = "manifest.json"
ADAPTERS = "adapters"
ROUTER = "router.json"
CALIBRATION = "calibration.json"

#: A router of a hundred domains, or a calibration of a million scores, takes less.
MAX_FILE_BYTES = 64 << 20

_MEMBERS = {
    "mediaType",
    "base_model_digest",
    "adapters_digest",
    "router_digest",
    "calibration_digest",
    "prompt_chars",
    "answer_chars",
    "trained_groups",
}
_LEAST_CHARS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceManifest:
    """What belongs together; each digest is `sha256:<hex>`."""

    base_model_digest: str
    adapters_digest: str
    router_digest: str
    calibration_digest: str | None = None
    """None until it is calibrated."""
    limits: PromptLimits
    """How much of each text the model was trained on, and is shown."""
    trained_groups: frozenset[str]
    """Digests of the questions it was trained on, which no calibration may use."""


def write_manifest(folder: Path, manifest: PalaceManifest) -> None:
    """Write the manifest. Raises: ConfigurationError where the folder cannot be written."""
    document = {
        "mediaType": MEDIA_TYPE,
        "base_model_digest": manifest.base_model_digest,
        "adapters_digest": manifest.adapters_digest,
        "router_digest": manifest.router_digest,
        "calibration_digest": manifest.calibration_digest or "",
        "prompt_chars": manifest.limits.prompt_chars,
        "answer_chars": manifest.limits.answer_chars,
        "trained_groups": sorted(manifest.trained_groups),
    }
    _write(folder / MANIFEST, document)


def read_manifest(folder: Path) -> PalaceManifest:
    """Return the folder's manifest. Raises: CalibrationError."""
    where = str(folder / MANIFEST)
    members = json_object(_parsed(_read(folder / MANIFEST), where), where)
    if members.get("mediaType") != MEDIA_TYPE or members.keys() != _MEMBERS:
        raise CalibrationError(
            f"{where} is not of this version's form: train with `tokens palace-train` again"
        )
    limits = {name: json_count(members, name, where) for name in ("prompt_chars", "answer_chars")}
    if min(limits.values()) < _LEAST_CHARS:
        raise CalibrationError(f"{where}: at least {_LEAST_CHARS} characters of a text are shown")
    return PalaceManifest(
        base_model_digest=json_text(members, "base_model_digest", where),
        adapters_digest=json_text(members, "adapters_digest", where),
        router_digest=json_text(members, "router_digest", where),
        calibration_digest=json_text(members, "calibration_digest", where) or None,
        limits=PromptLimits(**limits),
        trained_groups=frozenset(json_texts(members, "trained_groups", where)),
    )


def write_router(folder: Path, router: Router) -> str:
    """Write the router and return its digest. Raises: ConfigurationError."""
    return _write(folder / ROUTER, router.to_json())


def read_router(folder: Path, manifest: PalaceManifest) -> Router:
    """Return the router that the manifest names. Raises: CalibrationError."""
    path = folder / ROUTER
    return Router.from_json(_parsed(_named(path, manifest.router_digest), str(path)), str(path))


def write_calibration(folder: Path, calibration: PalaceCalibration) -> str:
    """Write the calibration and return its digest. Raises: ConfigurationError."""
    return _write(folder / CALIBRATION, calibration.to_json())


def read_calibration(folder: Path, manifest: PalaceManifest) -> PalaceCalibration:
    """Return the calibration that the manifest names. Raises: CalibrationError."""
    path = folder / CALIBRATION
    if manifest.calibration_digest is None:
        raise CalibrationError(
            f"{folder} is not calibrated: use `inference-audit tokens palace-calibrate`"
        )
    document = _parsed(_named(path, manifest.calibration_digest), str(path))
    try:
        calibration = PalaceCalibration.from_json(document)
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from error
    if calibration.adapters_digest != manifest.adapters_digest:
        raise CalibrationError(
            f"{path} belongs to the adapters {calibration.adapters_digest}, not to "
            f"{manifest.adapters_digest}: calibrate again"
        )
    return calibration


def read_calibration_bytes(folder: Path) -> bytes:
    """Return the calibration file as it is. Raises: CalibrationError."""
    return _read(folder / CALIBRATION)


def _named(path: Path, digest: str) -> bytes:
    content = _read(path)
    found = _digest(content)
    if found != digest:
        raise CalibrationError(
            f"{path} is {found}, but the manifest names {digest}: it was changed, or belongs to "
            "another training"
        )
    return content


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _parsed(content: bytes, where: str) -> object:
    try:
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"{where} is no JSON: {error}") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise CalibrationError(f"{path} is larger than any such file")
    return content


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not a finite number")


def _write(path: Path, document: object) -> str:
    # not RFC 8785, which writes 1.0 as 1: a factor is to be read back as the number it was
    text = json.dumps(document, allow_nan=False, separators=(",", ":"), sort_keys=True)
    content = text.encode("ascii")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    return _digest(content)
