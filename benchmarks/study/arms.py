"""The arms of the study: recorded traffic, replayed, and weighed by the judge as it is deployed.

Method: every exchange of a recording is replayed once; what the replay measured is kept under
`var/study`, keyed by the digests of recording and model. The judge then weighs it with the given
calibration and the default policy.

Legend: E exchanges, K alternatives, R calls of an exchange, X statistics.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.app import build_replayer
from audit.codec.traffic import read_traffic
from audit.config import ModelSource, ReplaySettings
from audit.findings import Growth
from audit.judge.alternatives import EvidenceLaw
from audit.judge.calibration import Calibration, StratumKey
from audit.judge.calls import Calls, read_calls
from audit.judge.deviation import MARGIN_CLIP_LOGITS, clipped_deviation_R
from audit.judge.eprocess import weigh
from audit.judge.noise import log_likelihood_G
from audit.judge.policy import Policy
from audit.judge.verdict import evidence_laws
from reference_runner.records import Evidence, ReplaySequence, Sampling

Float64Array = NDArray[np.float64]

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "examples" / "study"
MODEL = ROOT / "examples" / "model"
CACHE = ROOT / "var" / "study"

HONEST = (
    "honest-code",
    "honest-other-text-t0",
    "honest-other-text-t0.3",
    "honest-other-text-t1",
    "honest-other-text-t1.5",
)
ATTACKS = (
    *("int4", "kv-fp8", "fp8", "int8", "temperature-110", "temperature-90"),
    *("seed-wrong", "flipped-1pct", "checkpoint-other"),
)
MARGINAL_CALIBRATION = "calibration-batch-16-a"

#: Statistics of a token that rivals average; ours comes beside them.
STATISTICS_X = ("published", "clipped", "mismatch", "surprisal")

_ARRAYS = tuple(name for name in Evidence.__dataclass_fields__ if name.endswith("_R"))


#: The kind of exchange that all recordings of the study are.
STUDIED = StratumKey(profile_id="vllm-cpu-splitmix64", precision="bfloat16", ids_inferred=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One exchange and what its replay measured."""

    evidence: Evidence
    sequence: ReplaySequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One recording, weighed."""

    name: str
    label: str
    calls: tuple[Calls, ...]
    log_e_EKR: Float64Array
    """Of each call under each alternative, in nats."""
    statistics_ERX: Float64Array
    peaks_E: Float64Array
    """The largest log e-value of each exchange by itself."""
    growths: tuple[Growth, ...]

    @property
    def num_exchanges(self) -> int:
        """Number of exchanges."""
        return len(self.calls)

    @property
    def num_tokens_each(self) -> int:
        """Number of tokens of each exchange."""
        return self.calls[0].num_tokens


def labels(folder: Path) -> dict[str, str]:
    """Return the label of each recording."""
    rows = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {row["file"].removesuffix(".jsonl.gz"): row["label"] for row in rows}


def replayed(path: Path, model_digest: str, limit: int | None) -> list[Replayed]:
    """Return the first exchanges of a recording, replayed or taken from the cache."""
    name = path.name.removesuffix(".jsonl.gz")
    measured_by = f"{model_digest} {_code_digest()}".encode()
    key = hashlib.sha256(path.read_bytes() + measured_by).hexdigest()[:24]
    full, part = CACHE / f"{name}-{key}.npz", CACHE / f"{name}-{key}-{limit}.npz"
    for cached in (full, part):
        if cached.exists():
            return _load(cached)[:limit]
    found = _replay(path, limit)
    _save(found, full if limit is None else part)
    return found


@cache
def _code_digest() -> str:
    """Return a digest of all that decides a replay: other code or libraries, other evidence."""
    folders = (ROOT / "reference_runner", ROOT / "audit" / "codec")
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    files.append(ROOT / "audit" / "planning.py")
    digest = hashlib.sha256("".join(map(version, ("torch", "transformers", "numpy"))).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _replay(path: Path, limit: int | None) -> list[Replayed]:
    replay = build_replayer(ReplaySettings(models=(ModelSource(folder=MODEL),)))
    found: list[Replayed] = []
    for line in read_traffic([path]):
        if len(found) == limit:
            break
        if line.request is None:
            raise SystemExit(f"{line.source}: {line.error}")
        measured = replay(line.request)
        (evidence,) = measured.evidences
        found.append(Replayed(evidence=evidence, sequence=measured.plan.sequence))
    return found


def _save(found: Sequence[Replayed], path: Path) -> None:
    sequences = [
        {
            "profile": x.evidence.profile_id,
            "prompt": x.sequence.prompt_token_ids,
            "output": x.sequence.output_token_ids,
            "sampling": [getattr(x.sequence.sampling, name) for name in Sampling.__slots__],
        }
        for x in found
    ]
    arrays = {name: np.concatenate([getattr(x.evidence, name) for x in found]) for name in _ARRAYS}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp.npz")
    np.savez_compressed(unfinished, sequences=np.array(json.dumps(sequences)), **arrays)  # type: ignore[arg-type]
    unfinished.replace(path)


def _load(path: Path) -> list[Replayed]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in _ARRAYS}
        sequences = json.loads(str(file["sequences"]))
    found, start = [], 0
    for item in sequences:
        end = start + len(item["output"])
        evidence = Evidence(
            profile_id=item["profile"],
            **{name: values[start:end] for name, values in arrays.items()},
        )
        sequence = ReplaySequence(
            prompt_token_ids=tuple(item["prompt"]),
            output_token_ids=tuple(item["output"]),
            sampling=Sampling(**dict(zip(Sampling.__slots__, item["sampling"], strict=True))),
            profile_ids=(item["profile"],),
        )
        found.append(Replayed(evidence=evidence, sequence=sequence))
        start = end
    return found


class Weigher:
    """Turns recordings into arms."""

    def __init__(
        self, calibration: Calibration, policy: Policy, recordings: Path, limit: int | None
    ) -> None:
        self._calibration = calibration
        self._policy = policy
        self._limit = limit
        self._recordings = recordings
        self._labels = labels(recordings)
        key = STUDIED
        self.law: EvidenceLaw = evidence_laws(calibration, policy)[key]
        stratum = next(s for s in calibration.strata if s.key == key)
        # the same split of the error as in `evidence_laws`
        self.bounds = stratum.bounds(policy.calibration_rate / len(calibration.strata))

    def replayed(self, name: str, limit: int | None = None) -> list[Replayed]:
        """Return a recording's exchanges."""
        path = self._recordings / f"{name}.jsonl.gz"
        return replayed(path, self._calibration.model_digest, limit or self._limit)

    def arm(self, name: str) -> Arm:
        """Return a recording, weighed. Raises: ValueError where answers differ in length."""
        exchanges = self.replayed(name)
        calls = tuple(read_calls(x.evidence, x.sequence) for x in exchanges)
        if len({c.num_tokens for c in calls}) != 1:
            raise ValueError(f"{name}: the study joins answers of one length")
        weights = [weigh(c, self.law) for c in calls]
        tell_nats = -np.log(self._policy.tell_rate)
        growths = tuple(
            Growth(
                num_tokens=c.num_tokens,
                num_mismatches=c.num_tokens - x.evidence.num_matches,
                log_e_nats_K=tuple(map(float, w.log_e_nats_K)),
                log_e_nats=w.log_e_nats,
                log_likelihood_G=tuple(map(float, log_likelihood_G(c))),
                is_tell=bool(w.peak_log_e_nats >= tell_nats),
                exchange_digest="",
                honest_noise_logits=max(s.noise_logits for s in self._calibration.strata),
            )
            for x, c, w in zip(exchanges, calls, weights, strict=True)
        )
        return Arm(
            name=name,
            label=self._labels[name],
            calls=calls,
            log_e_EKR=np.stack([self.law.log_e_KR(c) for c in calls]),
            statistics_ERX=np.stack([statistics_of(x.evidence) for x in exchanges]),
            peaks_E=np.array([w.peak_log_e_nats for w in weights]),
            growths=growths,
        )


def statistics_of(evidence: Evidence) -> Float64Array:
    """Return what rivals average, one column for each of `STATISTICS_X`, shape [R, X]."""
    clipped_R = clipped_deviation_R(evidence)
    # the published statistic counts a token that the filters remove as the full clip
    is_removed_R = evidence.excluded_R & ~evidence.matched_R
    published_R = np.where(is_removed_R, MARGIN_CLIP_LOGITS, clipped_R)
    mismatch_R = (~evidence.matched_R).astype(np.float64)
    return np.stack([published_R, clipped_R, mismatch_R, -evidence.logprob_nats_R], axis=1)


def joined(name: str, label: str, arms: Sequence[Arm]) -> Arm:
    """Return one arm of all exchanges of several."""
    return Arm(
        name=name,
        label=label,
        calls=tuple(c for arm in arms for c in arm.calls),
        log_e_EKR=np.concatenate([arm.log_e_EKR for arm in arms]),
        statistics_ERX=np.concatenate([arm.statistics_ERX for arm in arms]),
        peaks_E=np.concatenate([arm.peaks_E for arm in arms]),
        growths=tuple(g for arm in arms for g in arm.growths),
    )
