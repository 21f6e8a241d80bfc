"""What one exchange adds to its provider's evidence, when it may be read in several ways.

Several sampler profiles, or several tolerated precisions, may stand behind one answer, and the
honest one among them is not known. The least e-value of all readings is one whichever it is; a
choice of a reading by another yardstick would not be.

Legend: X readings, K alternatives.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from audit.findings import Growth


def least_growth(readings: Sequence[Growth]) -> Growth:
    """Return the growth that no reading exceeds; counts and noise are those of the first."""
    log_e_XK = np.array([growth.log_e_nats_K for growth in readings])
    return replace(
        readings[0],
        log_e_nats_K=tuple(float(x) for x in log_e_XK.min(axis=0)),
        log_e_nats=min(growth.log_e_nats for growth in readings),
        is_tell=all(growth.is_tell for growth in readings),
    )
