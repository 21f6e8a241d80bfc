"""The per-token deviation that the published statistic averages.

Token-DiFR (arXiv 2511.20621, section 3) takes the distance of the claimed token's noised logit from
the best one, clipped, and averages it over tokens. A token on which the reference agrees
contributes nothing.

Legend: R scored rows (output tokens).
"""

import numpy as np
from numpy.typing import NDArray

from reference_runner.records import Evidence

Float64Array = NDArray[np.float64]

#: A larger margin says no more: the token is not what this model would have drawn (DiFR clips there
#: too).
MARGIN_CLIP_LOGITS = 0.5


def clipped_deviation_R(evidence: Evidence) -> Float64Array:
    """Return each token's distance from the reference's draw in logits, between 0 and the clip."""
    return np.clip(-evidence.signed_margin_logits_R.astype(np.float64), 0.0, MARGIN_CLIP_LOGITS)


def mean_clipped_margin(evidence: Evidence) -> float:
    """Return the published statistic of one exchange, in logits.

    0 where the reference agrees throughout.
    """
    return float(clipped_deviation_R(evidence).mean())
