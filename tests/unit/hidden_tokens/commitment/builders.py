"""A small commitment and its parties; no file or clock is touched here."""

from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec

from audit.billing_records import BilledRequest, BilledUsage, UsageSchema
from audit.hidden_tokens.commitment.prover import Commitment
from audit.ledger.keys import SigningKey

SECRET = b"fresh for each request, 32 bytes"
NONCE = b"made after the root came"


@cache
def provider_key() -> SigningKey:
    return SigningKey.of(ec.generate_private_key(ec.SECP256R1()))


def a_billed(num_tokens: int | None, *, request_id: str = "r-1") -> BilledRequest:
    usage = BilledUsage(
        schema=UsageSchema.VLLM, output_tokens=(num_tokens or 0) + 5, reasoning_tokens=num_tokens
    )
    return BilledRequest(
        request_id=request_id,
        account="team-1",
        provider="host",
        model="example",
        usage=usage,
        observed_at="2026-01-02T03:04:05Z",
    )


def a_commitment(token_ids: tuple[int, ...]) -> Commitment:
    return Commitment(a_billed(len(token_ids)), token_ids, secret=SECRET, sign=provider_key().sign)
