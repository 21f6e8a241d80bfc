"""What `calibrate` prints of a calibration: a line a stratum, for programs or for people."""

from pathlib import Path

import numpy as np

from audit.cli.lines import Line, print_line, stderr, stdout
from audit.judge.bins import bin_of
from audit.judge.calibration import Calibration, Stratum
from audit.judge.policy import Policy

#: Gaps for which the bounds are shown.
SHOWN_GAPS_STEPS = (0.5, 1.5, 4.0, 16.0)


def report_calibration(
    calibration: Calibration, policy: Policy, warnings: tuple[str, ...], out: Path, *, as_json: bool
) -> None:
    """Print what a calibration holds, and what it lacks."""
    for stratum in calibration.strata:
        line = _stratum_line(stratum, calibration, policy, out)
        if as_json:
            print_line(line)
            continue
        bounds = ", ".join(f"{b:.2g} at {gap}" for gap, b in line["mismatch_bounds"].items())
        stdout().print(
            f"{stratum.key}: {line['num_exchanges']} exchanges, {line['num_tokens']} tokens, "
            f"{line['match_share']:.2%} matched, {len(stratum.variants)} variants; honest "
            f"mismatches are rarer than {bounds} steps of gap",
            highlight=False,
        )
    if not as_json:
        stdout().print(f"wrote {out}, id {calibration.calibration_id}", highlight=False)
    for warning in warnings:
        stderr().print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _stratum_line(stratum: Stratum, calibration: Calibration, policy: Policy, out: Path) -> Line:
    bounds = stratum.bounds(policy.calibration_rate / len(calibration.strata))
    num_tokens = sum(v.num_tokens for v in stratum.variants)
    shown = bounds.mismatch_B[bin_of(np.asarray(SHOWN_GAPS_STEPS))]
    return {
        "profile": stratum.key.profile_id,
        "precision": stratum.key.precision,
        "ids_inferred": stratum.key.ids_inferred,
        "num_exchanges": sum(v.num_exchanges for v in stratum.variants),
        "num_tokens": num_tokens,
        "match_share": sum(v.num_matches for v in stratum.variants) / num_tokens,
        "noise_logits": stratum.noise_logits,
        "mismatch_bounds": {
            f"{gap:g}": float(bound) for gap, bound in zip(SHOWN_GAPS_STEPS, shown, strict=True)
        },
        "variants": [
            {
                "name": v.name,
                "source": v.source,
                "engines": list(v.engines),
                "num_exchanges": v.num_exchanges,
                "num_tokens": v.num_tokens,
                "noise_logits": v.noise_logits,
            }
            for v in stratum.variants
        ],
        "left_out_in_turn": [
            {
                "variant": h.variant,
                "num_exchanges": h.num_exchanges,
                "num_false_alarms": h.num_false_alarms,
                "is_alarming": h.is_alarming,
            }
            for h in stratum.holdouts
        ],
        "calibration_id": calibration.calibration_id,
        "policy_id": policy.policy_id,
        "out": str(out),
    }
