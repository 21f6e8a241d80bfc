"""The parts of a honest bundle that belong to these detectors, read strictly."""

from collections.abc import Mapping

from audit.errors import CalibrationError
from audit.sweeps.detector import Section


def check_members(section: Section, expected: Mapping[str, object], others: set[str]) -> None:
    """Check that a section holds these values and, besides, exactly the members `others`.

    Raises: CalibrationError naming what differs.
    """
    detector = expected["detector"]
    if not isinstance(section, Mapping) or set(section) != set(expected) | others:
        raise CalibrationError(f"the bundle's part of {detector} is malformed; calibrate anew")
    for name, value in expected.items():
        found = section[name]
        # True == 1 in Python, and 1 == 1.0; neither is meant here
        if found != value or type(found) is not type(value):
            raise CalibrationError(
                f"the bundle's part of {detector} was measured with {name} {found!r}, this sweep "
                f"uses {value!r}; calibrate anew or change the setting"
            )


def check_error(error: float) -> None:
    """Raises: CalibrationError for an error that is no probability."""
    if not 0.0 < error < 1.0:
        raise CalibrationError(f"the error {error} does not lie between 0 and 1")
