"""The effective logit noise of every arm, and the smallest that a number of tokens could show.

Method: `audit.judge.noise` over all exchanges of an arm; `audit.judge.sensitivity` over honest
calls joined to the stated length.
"""

from typing import Any

import numpy as np

from audit.judge.alternatives import EvidenceLaw
from audit.judge.calls import Calls
from audit.judge.noise import estimate_noise
from audit.judge.policy import Policy
from audit.judge.sensitivity import measure_sensitivity
from benchmarks.study.arms import Arm

NUM_TOKENS = (300, 1000, 3000, 10_000, 20_000)


def noise_row(arm: Arm) -> dict[str, Any]:
    """Return an arm's effective noise with its interval."""
    found = estimate_noise(np.sum([g.log_likelihood_G for g in arm.growths], axis=0))
    num_tokens = sum(g.num_tokens for g in arm.growths)
    return {
        "arm": arm.name,
        "label": arm.label,
        "num_tokens": num_tokens,
        "match_share": 1.0 - sum(g.num_mismatches for g in arm.growths) / num_tokens,
        "tell_share": float(np.mean([g.is_tell for g in arm.growths])),
        "sigma_logits": found.estimate_logits,
        "low_logits": found.low_logits,
        "high_logits": found.high_logits,
    }


def detectable_rows(arm: Arm, law: EvidenceLaw, policy: Policy) -> list[dict[str, Any]]:
    """Return the smallest noise and share of stray tokens that would mostly be failed."""
    rows = []
    for num_tokens in NUM_TOKENS:
        seen = measure_sensitivity(
            _joined(arm, num_tokens),
            law,
            threshold_nats=policy.log_threshold_nats,
            power=policy.power_target,
        )
        rows.append(
            {
                "num_tokens": num_tokens,
                "noise_logits": seen.logit_noise_logits,
                "stray_share": seen.substituted_token_share,
            }
        )
    return rows


def _joined(arm: Arm, num_tokens: int) -> Calls:
    whole = -(-num_tokens // arm.num_tokens_each)
    calls = [arm.calls[i % arm.num_exchanges] for i in range(whole)]
    fields = {
        name: np.concatenate([getattr(c, name) for c in calls])[:num_tokens]
        for name in Calls.__dataclass_fields__
    }
    return Calls(**fields)
