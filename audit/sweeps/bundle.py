"""Honest bundles: what honest endpoints look like to each detector, as one file.

A bundle belongs to one checkpoint. Each detector has a section of its own; one whose honest
variants could not be told from a cheat by the others is shipped disabled, with the reason. The id
is the digest of the content, so that a verdict names exactly what it rests on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from audit.errors import CalibrationError
from audit.sweeps.detector import Section
from audit.sweeps.probe import canonical_text

FORMAT = "inference-audit/honest-bundle/v1"

#: A larger file is refused unread.
MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One variant audited against a bundle of all others."""

    detector: str
    variant: str
    num_sweeps: int
    num_alarms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestBundle:
    """What was measured of honest endpoints."""

    bundle_id: str = ""
    created_at: str = ""
    model_digest: str = ""
    precision: str = ""
    error: float = 0.0
    """The chance that any bound in it is wrong, all detectors together."""
    variants: tuple[str, ...] = ()
    sections: Mapping[str, Section] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)
    """Why a detector that was measured must not be used."""
    held_out: tuple[HeldOut, ...] = ()

    def section(self, detector_id: str) -> Section | None:
        """Return a detector's section; None where it was not measured, or is disabled."""
        return None if detector_id in self.disabled else self.sections.get(detector_id)


def seal_bundle(
    *,
    created_at: str,
    model_digest: str,
    precision: str,
    error: float,
    variants: tuple[str, ...],
    sections: Mapping[str, Section],
    disabled: Mapping[str, str],
    held_out: tuple[HeldOut, ...],
) -> HonestBundle:
    """Return the bundle of these sections, with the digest of its content as id."""
    draft = HonestBundle(
        created_at=created_at,
        model_digest=model_digest,
        precision=precision,
        error=error,
        variants=variants,
        sections=dict(sections),
        disabled=dict(disabled),
        held_out=held_out,
    )
    return HonestBundle(
        bundle_id=f"sha256:{hashlib.sha256(canonical_text(_body(draft)).encode()).hexdigest()}",
        created_at=created_at,
        model_digest=model_digest,
        precision=precision,
        error=error,
        variants=variants,
        sections=draft.sections,
        disabled=draft.disabled,
        held_out=held_out,
    )


def save_bundle(bundle: HonestBundle, path: Path) -> None:
    """Write a bundle as JSON. Raises: CalibrationError where the file cannot be written."""
    document = {"bundle_id": bundle.bundle_id, **_body(bundle)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}") from error


def load_bundle(path: Path) -> HonestBundle:
    """Read a bundle and check its digest. Raises: CalibrationError."""
    document = _read(path)
    if document.get("format") != FORMAT:
        raise CalibrationError(
            f"{path} is no honest bundle of format {FORMAT}; make one with `inference-audit sweep "
            "calibrate`"
        )
    try:
        bundle = _sealed(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(f"{path} is damaged: {error!r}; make the bundle anew") from error
    if bundle.bundle_id != document.get("bundle_id"):
        raise CalibrationError(
            f"{path} was changed after it was made: its content no longer has the digest that it "
            "names; make the bundle anew"
        )
    return bundle


def _sealed(document: Mapping[str, object]) -> HonestBundle:
    sections, disabled = document["sections"], document["disabled"]
    held_out, variants = document["held_out"], document["variants"]
    if not (isinstance(sections, dict) and isinstance(disabled, dict)):
        raise TypeError("sections and disabled must be objects")
    if not (isinstance(held_out, list) and isinstance(variants, list)):
        raise TypeError("held_out and variants must be lists")
    if not all(isinstance(section, dict) for section in sections.values()):
        raise TypeError("every section must be an object")
    error = document["error"]
    if not isinstance(error, int | float) or isinstance(error, bool):
        raise TypeError("error must be a number")
    return seal_bundle(
        created_at=str(document["created_at"]),
        model_digest=str(document["model_digest"]),
        precision=str(document["precision"]),
        error=float(error),
        variants=tuple(str(name) for name in variants),
        sections=sections,
        disabled={str(name): str(why) for name, why in disabled.items()},
        held_out=tuple(HeldOut(**row) for row in held_out),
    )


def _body(bundle: HonestBundle) -> dict[str, object]:
    return {
        "format": FORMAT,
        "created_at": bundle.created_at,
        "model_digest": bundle.model_digest,
        "precision": bundle.precision,
        "error": bundle.error,
        "variants": list(bundle.variants),
        "sections": dict(bundle.sections),
        "disabled": dict(bundle.disabled),
        "held_out": [
            {
                "detector": row.detector,
                "variant": row.variant,
                "num_sweeps": row.num_sweeps,
                "num_alarms": row.num_alarms,
            }
            for row in bundle.held_out
        ],
    }


def _read(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CalibrationError(f"{path} is too large for an honest bundle")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CalibrationError(f"{path} is not a JSON object")
    return document
