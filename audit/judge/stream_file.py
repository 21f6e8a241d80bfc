"""A provider's evidence as text for the database, with a checksum: spoiled state is never built on.

Legend: K alternatives, G noise levels, S stakes.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import rfc8785

from audit.errors import CorruptState
from audit.judge.alternatives import FAMILIES, NUM_ALTERNATIVES
from audit.judge.noise import LEVELS_LOGITS_G
from audit.judge.stream import STAKES_S, Float64Array, StreamState
from audit.judge.substitution import Transitions

FORMAT = "inference-audit/stream/v1"

#: What the numbers in a state mean; under another meaning they cannot be added to.
MEANING = {
    "alternatives": [[list(pair) for pair in family] for family in FAMILIES],
    "stakes": STAKES_S.tolist(),
    "levels_logits": LEVELS_LOGITS_G.tolist(),
}
_MEANING_DIGEST = hashlib.sha256(rfc8785.dumps(MEANING)).hexdigest()


def state_to_json(state: StreamState) -> str:
    """Return the text of a state."""
    body = {
        "format": FORMAT,
        "meaning": _MEANING_DIGEST,
        "num_exchanges": state.num_exchanges,
        "num_tokens": state.num_tokens,
        "num_repeated": state.num_repeated,
        "log_e_nats_K": state.log_e_nats_K.tolist(),
        "log_stakes_nats_S": state.log_stakes_nats_S.tolist(),
        "log_likelihood_G": state.log_likelihood_G.tolist(),
        "honest_noise_logits": state.honest_noise_logits,
        "peak_log_e_nats": state.peak_log_e_nats,
        "failed_at_exchange": state.failed_at_exchange,
        "num_tells": state.num_tells,
        "runs": asdict(state.runs),
        "substituted_share_low": state.substituted_share_low,
        "recent": list(state.recent),
    }
    return json.dumps({"sha256": _digest(body), **body}, separators=(",", ":"))


def state_from_json(text: str, *, stream_id: str) -> StreamState:
    """Return the state of a text. Raises: CorruptState, which names the stream and the remedy."""
    try:
        body = json.loads(text)
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        stated = body.pop("sha256", None)
        if stated != _digest(body):
            raise ValueError("its checksum does not fit its content")
        if body["meaning"] != _MEANING_DIGEST:
            raise ValueError("it was written by a version that weighs evidence differently")
        return _state(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptState.of(stream_id, str(error)) from error


def _state(body: Mapping[str, Any]) -> StreamState:
    failed_at = body["failed_at_exchange"]
    return StreamState(
        num_exchanges=int(body["num_exchanges"]),
        num_tokens=int(body["num_tokens"]),
        num_repeated=int(body["num_repeated"]),
        log_e_nats_K=_numbers(body["log_e_nats_K"], NUM_ALTERNATIVES),
        log_stakes_nats_S=_numbers(body["log_stakes_nats_S"], len(STAKES_S)),
        log_likelihood_G=_numbers(body["log_likelihood_G"], len(LEVELS_LOGITS_G)),
        honest_noise_logits=float(body["honest_noise_logits"]),
        peak_log_e_nats=float(body["peak_log_e_nats"]),
        failed_at_exchange=None if failed_at is None else int(failed_at),
        num_tells=int(body["num_tells"]),
        runs=_runs(body["runs"]),
        substituted_share_low=float(body["substituted_share_low"]),
        recent=tuple(str(digest) for digest in body["recent"]),
    )


def _runs(body: Mapping[str, Any]) -> Transitions:
    counts = {name: int(body[name]) for name in ("n00", "n01", "n10", "n11")}
    first, last = body["first"], body["last"]
    if min(counts.values()) < 0 or not {type(first), type(last)} <= {bool, type(None)}:
        raise ValueError("its counts of tells make no sense")
    return Transitions(**counts, first=first, last=last)


def _numbers(values: Any, count: int) -> Float64Array:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (count,) or not all(math.isfinite(x) for x in numbers):
        raise ValueError(f"{count} finite numbers are expected")
    return numbers


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps(dict(body))).hexdigest()
