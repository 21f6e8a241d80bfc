"""Which domain a prompt belongs to: n-grams of words and characters, and a logistic regression.

Legend: N prompts, B buckets that n-grams are hashed into, D domains.
"""

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse, special

from audit.errors import CalibrationError
from audit.hidden_tokens.estimator.files import json_number, json_object, json_texts

Float64Array = NDArray[np.float64]

NUM_BUCKETS = 4096

_WORD = re.compile(r"\w+")
_READ_CHARS = 1500
_PENALTY = 1e-4
#: More steps cost time and route no new prompt better.
_MAX_STEPS = 50
_DECIMALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a prompt goes."""

    domain: str | None
    """None where no domain is likely enough."""
    probability: float
    """Of the likeliest domain, whether it was chosen or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A logistic regression over hashed n-grams, one column of weights for each domain."""

    domains: tuple[str, ...]
    weights_DB: tuple[tuple[float, ...], ...]
    biases_D: tuple[float, ...]
    least_probability: float
    """Below it the router abstains."""

    def route(self, prompt: str) -> Route:
        """Return the likeliest domain of a prompt, or none."""
        probabilities_D = self.probabilities([prompt])[0]
        best = int(np.argmax(probabilities_D))
        probability = float(probabilities_D[best])
        is_likely = probability >= self.least_probability
        return Route(domain=self.domains[best] if is_likely else None, probability=probability)

    def probabilities(self, prompts: Sequence[str]) -> Float64Array:
        """Return how likely each domain is for each prompt, shape [N, D]."""
        logits_ND = _ngrams(prompts) @ np.array(self.weights_DB).T + np.array(self.biases_D)
        return np.asarray(special.softmax(logits_ND, axis=1), dtype=np.float64)

    def to_json(self) -> dict[str, object]:
        """Return the router for a calibration file."""
        return {
            "num_buckets": NUM_BUCKETS,
            "domains": list(self.domains),
            "weights_DB": [list(weights_B) for weights_B in self.weights_DB],
            "biases_D": list(self.biases_D),
            "least_probability": self.least_probability,
        }

    @classmethod
    def from_json(cls, value: object, where: str = "router") -> "Router":
        """Return what `to_json` gave. Raises: CalibrationError naming the member that is wrong."""
        members = json_object(value, where)
        domains = json_texts(members, "domains", where)
        if json_number(members, "num_buckets", where) != NUM_BUCKETS or not domains:
            raise CalibrationError(f"{where}: made by another version: train it again")
        weights_DB = _matrix(members, "weights_DB", (len(domains), NUM_BUCKETS), where)
        biases_D = _matrix(members, "biases_D", (len(domains),), where)
        return cls(
            domains=domains,
            weights_DB=tuple(map(tuple, weights_DB.tolist())),
            biases_D=tuple(biases_D.tolist()),
            least_probability=json_number(members, "least_probability", where),
        )


def train_router(
    prompts: Sequence[str], domains: Sequence[str], *, least_probability: float = 0.5
) -> Router:
    """Return a router fitted to prompts whose domains are known; equal prompts count once.

    Raises: CalibrationError without prompts. There is no randomness in it.
    """
    pairs = sorted(set(zip(prompts, domains, strict=True)))
    if not pairs:
        raise CalibrationError("a router needs prompts whose domain is known")
    names = tuple(sorted({domain for _, domain in pairs}))
    grams_NB = _ngrams([prompt for prompt, _ in pairs])
    truth_ND = np.array([[domain == name for name in names] for _, domain in pairs], dtype=float)
    weights_DB, biases_D = _fit(grams_NB, truth_ND)
    return Router(
        domains=names,
        weights_DB=tuple(map(tuple, weights_DB.round(_DECIMALS).tolist())),
        biases_D=tuple(biases_D.round(_DECIMALS).tolist()),
        least_probability=least_probability,
    )


def _fit(grams_NB: sparse.csr_matrix, truth_ND: Float64Array) -> tuple[Float64Array, Float64Array]:
    num_prompts, num_domains = truth_ND.shape
    shape = (NUM_BUCKETS + 1, num_domains)

    def loss_and_gradient(flat: Float64Array) -> tuple[float, Float64Array]:
        weights_BD, biases_D = np.split(flat.reshape(shape), [NUM_BUCKETS])
        log_probabilities_ND = special.log_softmax(grams_NB @ weights_BD + biases_D, axis=1)
        errors_ND = (np.exp(log_probabilities_ND) - truth_ND) / num_prompts
        loss = -float((truth_ND * log_probabilities_ND).sum()) / num_prompts
        gradient = np.vstack((grams_NB.T @ errors_ND + _PENALTY * weights_BD, errors_ND.sum(0)))
        return loss + _PENALTY / 2.0 * float((weights_BD**2).sum()), gradient.ravel()

    start = np.zeros(shape[0] * shape[1])
    best = optimize.minimize(
        loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS}
    )
    weights_BD, biases_D = np.split(best.x.reshape(shape), [NUM_BUCKETS])
    return np.asarray(weights_BD.T), np.asarray(biases_D[0])


def _ngrams(prompts: Sequence[str]) -> sparse.csr_matrix:
    """Return hashed n-grams of prompts, rows of length 1, shape [N, B]."""
    values: list[float] = []
    buckets: list[int] = []
    ends = [0]
    for prompt in prompts:
        counts = Counter(zlib.crc32(gram) % NUM_BUCKETS for gram in _grams_of(prompt))
        logs = np.log1p(np.fromiter(counts.values(), dtype=np.float64, count=len(counts)))
        values.extend(logs / max(float(np.linalg.norm(logs)), 1e-9))
        buckets.extend(counts)
        ends.append(len(values))
    return sparse.csr_matrix((values, buckets, ends), shape=(len(prompts), NUM_BUCKETS))


def _grams_of(prompt: str) -> list[bytes]:
    # the start tells the domain; the rest of a long prompt would only cost time
    text = prompt[:_READ_CHARS].lower()
    words = _WORD.findall(text)
    triples = (f"#{text[start : start + 3]}" for start in range(len(text) - 2))
    return [gram.encode("utf-8", "replace") for gram in (*words, *triples)]


def _matrix(
    members: Mapping[str, object], name: str, shape: tuple[int, ...], where: str
) -> Float64Array:
    try:
        matrix = np.array(members.get(name), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"{where}: {name} must be numbers") from error
    if matrix.shape != shape or not np.isfinite(matrix).all():
        raise CalibrationError(f"{where}: {name} must be {shape} finite numbers")
    return matrix
