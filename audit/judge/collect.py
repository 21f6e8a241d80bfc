"""Builds a calibration from honest exchanges, one at a time, each under its variant's name.

Keeps how close the calls were and how they turned out, never prompts or answers.
"""

from dataclasses import dataclass, field

import numpy as np

from audit.errors import CalibrationError
from audit.findings import NoiseEstimate
from audit.judge.bins import BinCounts, count_calls, no_counts
from audit.judge.calibration import Calibration, Stratum, StratumKey, Variant, stratum_key
from audit.judge.calibration_file import seal_calibration
from audit.judge.calls import Calls, read_calls
from audit.judge.holdout import hold_out
from audit.judge.noise import estimate_noise, log_likelihood_G
from audit.judge.policy import Policy
from audit.records import Measurement

#: Honest traffic on a matching sampler agrees on nearly every token; below this share the
#: recording, the profile or the checkpoint is wrong, and calibrating on it would let cheats pass.
MIN_HONEST_MATCH_SHARE = 0.9

#: Fewer exchanges than this say nothing about a variant.
MIN_EXCHANGES = 20

GENERATED = "generated"
RECORDED = "recorded"


@dataclass(slots=True)
class _GrowingVariant:
    source: str
    engines: set[str] = field(default_factory=set)
    exchanges: list[Calls] = field(default_factory=list)
    num_tokens: int = 0
    num_matches: int = 0

    def counts(self) -> BinCounts:
        return sum((count_calls(calls) for calls in self.exchanges), no_counts())

    def noise(self) -> NoiseEstimate:
        return estimate_noise(np.sum([log_likelihood_G(c) for c in self.exchanges], axis=0))


@dataclass(slots=True)
class _Growing:
    has_sampled: bool = False
    has_top_k: bool = False
    has_top_p: bool = False
    variants: dict[str, _GrowingVariant] = field(default_factory=dict)


class CalibrationCollector:
    """Takes honest evidence and returns the calibration."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._strata: dict[StratumKey, _Growing] = {}
        self._model_digest: str | None = None

    def add(self, measured: Measurement, variant: str, *, engine: str, source: str) -> None:
        """Count one honest exchange, under the candidate profile that explains it best.

        `engine` says in words what answered, `source` is RECORDED or GENERATED.

        Raises: CalibrationError where it was replayed on another checkpoint than those before.
        """
        plan, info = measured.plan, measured.info
        if self._model_digest not in (None, info.model_digest):
            raise CalibrationError(
                f"the traffic is of two checkpoints, {self._model_digest} and {info.model_digest}; "
                "calibrate each by itself"
            )
        evidence = max(measured.evidences, key=lambda e: e.num_matches)
        self._model_digest = info.model_digest
        key = stratum_key(plan, evidence.profile_id, info.precision)
        stratum = self._strata.setdefault(key, _Growing())
        sampling = plan.sequence.sampling
        stratum.has_sampled |= not sampling.is_greedy
        stratum.has_top_k |= sampling.top_k > 0 and not sampling.is_greedy
        stratum.has_top_p |= sampling.top_p < 1.0 and not sampling.is_greedy
        growing = stratum.variants.setdefault(variant, _GrowingVariant(source=source))
        growing.engines.add(engine)
        growing.exchanges.append(read_calls(evidence, plan.sequence))
        growing.num_tokens += evidence.num_tokens
        growing.num_matches += evidence.num_matches

    def finish(self, created_at: str) -> tuple[Calibration, tuple[str, ...]]:
        """Return the calibration, and a warning for whatever cannot carry a verdict.

        Raises: CalibrationError where nothing is left, or where the traffic does not look honest.
        """
        kept: list[Stratum] = []
        warnings: list[str] = []
        for key, growing in self._strata.items():
            variants = {
                n: v for n, v in growing.variants.items() if _is_usable(key, n, v, warnings)
            }
            if variants:
                kept.append(self._stratum(key, growing, variants, warnings))
        if not kept or self._model_digest is None:
            raise CalibrationError(
                f"no honest variant has the {MIN_EXCHANGES} exchanges that are needed"
                + "".join(f"\n  {w}" for w in warnings)
            )
        sealed = seal_calibration(
            created_at=created_at, model_digest=self._model_digest, strata=kept
        )
        return sealed, tuple(warnings)

    def _stratum(
        self,
        key: StratumKey,
        growing: _Growing,
        variants: dict[str, _GrowingVariant],
        warnings: list[str],
    ) -> Stratum:
        counts = {name: variant.counts() for name, variant in variants.items()}
        calls = {name: variant.exchanges for name, variant in variants.items()}
        stratum = Stratum(
            key=key,
            has_sampled=growing.has_sampled,
            has_top_k=growing.has_top_k,
            has_top_p=growing.has_top_p,
            variants=tuple(
                Variant(
                    name=name,
                    source=variant.source,
                    engines=tuple(sorted(variant.engines)),
                    num_exchanges=len(variant.exchanges),
                    num_tokens=variant.num_tokens,
                    num_matches=variant.num_matches,
                    noise_logits=variant.noise().estimate_logits,
                    counts=counts[name],
                )
                for name, variant in variants.items()
            ),
            holdouts=hold_out(counts, calls, self._policy),
        )
        warnings.extend(_shortcomings(stratum, self._policy))
        return stratum


def _is_usable(key: StratumKey, name: str, variant: _GrowingVariant, warnings: list[str]) -> bool:
    """Tell whether a variant is kept; appends the reason where not. Raises: CalibrationError."""
    share = variant.num_matches / max(1, variant.num_tokens)
    if len(variant.exchanges) < MIN_EXCHANGES:
        warnings.append(
            f"{key}, variant {name}: {len(variant.exchanges)} exchanges are too few, "
            f"{MIN_EXCHANGES} are needed; left out"
        )
    elif share < MIN_HONEST_MATCH_SHARE and key.ids_inferred:
        warnings.append(
            f"{key}, variant {name}: the reference agrees on {share:.1%} of the tokens only, as "
            "other tokens may spell the same text; left out"
        )
    elif share < MIN_HONEST_MATCH_SHARE:
        raise CalibrationError(
            f"{key}, variant {name}: the reference agrees on {share:.1%} of the tokens only. "
            "Honest traffic agrees on nearly all: is this the right checkpoint, precision and "
            "sampler profile?"
        )
    else:
        return True
    return False


def _shortcomings(stratum: Stratum, policy: Policy) -> list[str]:
    found = [
        f"{stratum.key}: variant {h.variant} would be failed {h.num_false_alarms} times in "
        f"{h.num_exchanges} by the others; verdicts will be INCONCLUSIVE"
        for h in stratum.holdouts
        if h.is_alarming
    ]
    if len(stratum.variants) < policy.min_variants:
        found.append(
            f"{stratum.key}: {len(stratum.variants)} honest variant, the policy asks for "
            f"{policy.min_variants}; verdicts will be INCONCLUSIVE"
        )
    return found
