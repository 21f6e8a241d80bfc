"""The evidence per token as a file that a verdict names by digest.

It lets a reader see where in an answer the provider and the reference part. Positions only: neither
prompt nor tokens are in it. Figures are rounded to five significant digits, which is finer than any
reference reproduces them.
"""

import hashlib
import json

from audit.log_records import Artifact
from reference_runner.records import Evidence

TOKENS_MEDIA_TYPE = "application/vnd.inference-audit.tokens.v1+json"

_SIGNIFICANT_DIGITS = 5


def tokens_artifact(evidence: Evidence) -> Artifact:
    """Return the evidence per token: margin and gap in logits, rank, and which tokens differ."""
    columns = {
        "profile": evidence.profile_id,
        "margin_logits": [_rounded(value) for value in evidence.signed_margin_logits_R.tolist()],
        "gap_logits": [_rounded(value) for value in evidence.top_two_gap_logits_R.tolist()],
        "rank": [int(value) for value in evidence.rank_R.tolist()],
        "is_mismatch": [int(not matched) for matched in evidence.matched_R.tolist()],
    }
    content = json.dumps(columns, separators=(",", ":"), allow_nan=False).encode("ascii")
    return Artifact(
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        media_type=TOKENS_MEDIA_TYPE,
        content=content,
    )


def _rounded(value: float) -> float | None:
    # Excluded tokens may lie infinitely far away, which JSON cannot say.
    if value != value or value in (float("inf"), float("-inf")):
        return None
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
