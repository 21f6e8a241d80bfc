"""Bills beside made-up blobs: 800 characters an item and 6 a token, like ciphertext in base64."""

import numpy as np

from audit.billing_records import BilledRequest, BilledUsage, OpaqueEvidence, Unchecked, UsageSchema
from audit.hidden_tokens.opaque_evidence import OpaqueSample, opaque_samples

MODEL = "gpt-5-2025-08-07"


def request(tokens: int, evidence: OpaqueEvidence | None, model: str = MODEL) -> BilledRequest:
    """Return a bill of so many reasoning tokens beside what stood in for them."""
    return BilledRequest(
        request_id="r-1",
        account="acme",
        provider="openai",
        model=model,
        usage=BilledUsage(
            schema=UsageSchema.OPENAI_RESPONSES,
            output_tokens=tokens + 100,
            reasoning_tokens=tokens,
        ),
        observed_at="2026-01-02T03:04:05Z",
        answer="x" * 400,
        opaque=evidence,
    )


def blobs(num: int, seed: int, model: str = MODEL) -> list[BilledRequest]:
    """Return honest requests with one to three items each."""
    rng = np.random.default_rng(seed)
    requests = []
    for _ in range(num):
        tokens, num_items = 64 * int(rng.integers(1, 40)), int(rng.integers(1, 4))
        chars = round(800 * num_items + 6.0 * tokens * float(np.exp(0.05 * rng.normal())))
        evidence = OpaqueEvidence(blob_chars=chars, num_blobs=num_items)
        requests.append(request(tokens, evidence, model))
    return requests


def samples(requests: list[BilledRequest]) -> list[OpaqueSample]:
    """Return the samples of requests that can all be used."""
    found: list[OpaqueSample] = []
    for one in requests:
        read = opaque_samples(one)
        assert not isinstance(read, Unchecked)
        found.extend(read)
    return found
