"""Commit and reveal: a run binds itself before its first request, and shows to what afterwards.

The commitment is the SHA-256 of the opening's RFC 8785 JSON. It covers the seed, the probes with
what the reference expects of each, thresholds and calibration, so that none of them can be chosen
after the answers are known; the salt keeps short secrets from being guessed. Each commitment is an
entry of the log: one that is never opened stays visible.
"""

import hashlib
from collections.abc import Iterable

from audit.errors import VerificationError
from audit.sweep_records import Opening
from audit.sweeps.probe import canonical_text

FORMAT = "inference-audit/sweep-commitment/v1"


def commitment_of(opening: Opening) -> str:
    """Return what is logged before the run, `sha256:<hex>`."""
    members = {
        "format": FORMAT,
        "seed": opening.seed,
        "salt": opening.salt,
        "plan": opening.plan_digest,
        "policy": opening.policy_id,
        "bundle": opening.bundle_id,
        "code": opening.code_version,
    }
    return digest_of([canonical_text(members)])


def check_opening(commitment: str, opening: Opening) -> None:
    """Raise VerificationError unless the opening is what was committed to."""
    if commitment_of(opening) != commitment:
        raise VerificationError(
            "the run's opening is not what it committed itself to: its seed, probes, thresholds "
            "or calibration were changed afterwards"
        )


def digest_of(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines that each end with a newline, `sha256:<hex>`."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return f"sha256:{digest.hexdigest()}"
