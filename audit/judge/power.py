"""Power tables: how likely named attacks are failed, measured by a study for one calibration.

The file lies beside the calibration. It says what was measured at a few numbers of tokens; between
them the lower figure is used, so that nothing is overstated.
"""

import bisect
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rfc8785

from audit.errors import CalibrationError
from audit.findings import AttackPower

FORMAT = "inference-audit/power/v1"

#: A larger file is refused; an attack takes a few hundred bytes.
MAX_FILE_BYTES = 16 << 20

#: JSON numbers hold no larger whole number exactly.
_MAX_COUNT = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCurve:
    """How often one attack was failed at each number of tokens."""

    attack: str
    label: str
    power: tuple[float, ...]
    """One for each number of tokens of the table."""
    num_streams: int
    """Independent runs behind each figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerTable:
    """What a study measured; `power_id` is the digest of all the rest."""

    power_id: str
    calibration_id: str
    stratum: str
    """The kind of exchange that was studied, in the calibration's words."""
    log10_threshold: float
    """The e-value that a FAIL took in the study."""
    created_at: str
    num_tokens: tuple[int, ...]
    """Where power was measured, ascending."""
    attacks: tuple[PowerCurve, ...]

    def applies_to(self, stratum: str, log10_threshold: float) -> bool:
        """Return whether exchanges of this kind, failed at this e-value, are no harder to fail."""
        return stratum == self.stratum and log10_threshold <= self.log10_threshold + 1e-9

    def at(self, num_tokens: int, target: float) -> tuple[AttackPower, ...]:
        """Return each attack's power at this number of tokens, and the tokens that `target` takes.

        Taken from the largest measured number that is no larger; below the first one it is 0.
        """
        num_below = bisect.bisect_right(self.num_tokens, num_tokens)
        return tuple(
            AttackPower(
                attack=curve.attack,
                label=curve.label,
                power=curve.power[num_below - 1] if num_below else 0.0,
                num_tokens_needed=self._needed(curve, target),
            )
            for curve in self.attacks
        )

    def _needed(self, curve: PowerCurve, target: float) -> int | None:
        measured = zip(self.num_tokens, curve.power, strict=True)
        return next((count for count, power in measured if power >= target), None)


def seal_power(
    *,
    calibration_id: str,
    stratum: str,
    log10_threshold: float,
    created_at: str,
    num_tokens: Sequence[int],
    attacks: Sequence[PowerCurve],
) -> PowerTable:
    """Return the power table of these figures, with the digest of its content as id.

    Raises: ValueError where they are no power table, as where a probability exceeds 1.
    """
    _check(num_tokens, attacks)
    table = PowerTable(
        power_id="",
        calibration_id=calibration_id,
        stratum=stratum,
        log10_threshold=log10_threshold,
        created_at=created_at,
        num_tokens=tuple(num_tokens),
        attacks=tuple(attacks),
    )
    return replace(table, power_id=_digest(_body(table)))


def power_path(calibration_path: Path) -> Path:
    """Return where the power table of a calibration file lies: `x.json` has `x.power.json`."""
    return calibration_path.with_name(f"{calibration_path.name.removesuffix('.json')}.power.json")


def save_power(table: PowerTable, path: Path) -> None:
    """Write a power table as JSON. Raises: CalibrationError where the file cannot be written."""
    document = {"power_id": table.power_id, **_body(table)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}") from error


def load_power(path: Path, calibration_id: str) -> PowerTable:
    """Read the power table of a calibration.

    Raises: CalibrationError where it is malformed, changed, or made for another calibration.
    """
    document = _read(path)
    if document.get("format") != FORMAT:
        raise CalibrationError(
            f"{path} is no power table of format {FORMAT}; run the study again, or remove it"
        )
    try:
        body = {key: value for key, value in document.items() if key != "power_id"}
        digest = _digest(body)
        table = _table(body)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CalibrationError(
            f"the power table {path} is malformed ({error!r}); run the study again, or remove it"
        ) from error
    if digest != document.get("power_id") or digest != table.power_id:
        raise CalibrationError(
            f"the power table {path} was changed after it was made: its content does not fit its "
            "power_id; run the study again"
        )
    if table.calibration_id != calibration_id:
        raise CalibrationError(
            f"the power table {path} was made for calibration {table.calibration_id}, not "
            f"{calibration_id}; run the study again"
        )
    return table


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CalibrationError(f"cannot read the power table {path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise CalibrationError(f"{path} is larger than any power table; name another file")
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CalibrationError(
            f"the power table {path} is not valid JSON: {error}; run the study again, or remove it"
        ) from error
    if not isinstance(document, dict):
        raise CalibrationError(
            f"{path} is no power table of format {FORMAT}; run the study again, or remove it"
        )
    return document


def _digest(body: Mapping[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(rfc8785.dumps(dict(body))).hexdigest()}"


def _body(table: PowerTable) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "calibration_id": table.calibration_id,
        "stratum": table.stratum,
        "log10_threshold": table.log10_threshold,
        "created_at": table.created_at,
        "num_tokens": list(table.num_tokens),
        "attacks": [
            {
                "attack": curve.attack,
                "label": curve.label,
                "power": list(curve.power),
                "num_streams": curve.num_streams,
            }
            for curve in table.attacks
        ],
    }


def _table(body: Mapping[str, Any]) -> PowerTable:
    return seal_power(
        calibration_id=_text(body["calibration_id"]),
        stratum=_text(body["stratum"]),
        log10_threshold=float(body["log10_threshold"]),
        created_at=_text(body["created_at"]),
        num_tokens=tuple(_count(value) for value in _list(body["num_tokens"])),
        attacks=tuple(
            PowerCurve(
                attack=_text(item["attack"]),
                label=_text(item["label"]),
                power=tuple(_probability(value) for value in _list(item["power"])),
                num_streams=_count(item["num_streams"]),
            )
            for item in _list(body["attacks"])
        ),
    )


def _check(num_tokens: Sequence[int], attacks: Sequence[PowerCurve]) -> None:
    if not num_tokens or any(b <= a for a, b in zip([0, *num_tokens], num_tokens, strict=False)):
        raise ValueError("num_tokens must be positive and ascending")
    names = [curve.attack for curve in attacks]
    if len(set(names)) < len(names):
        raise ValueError("an attack is listed twice")
    for curve in attacks:
        if len(curve.power) != len(num_tokens):
            raise ValueError(f"{curve.attack} has {len(curve.power)} figures")
        if not all(0.0 <= power <= 1.0 for power in curve.power) or curve.num_streams < 1:
            raise ValueError(f"{curve.attack} has a figure out of range")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("a list is expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is expected")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_COUNT:
        raise ValueError("a positive whole number is expected")
    return value


def _probability(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("a probability is expected")
    return float(value)
