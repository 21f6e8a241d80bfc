"""Sizes of what stands in for the hidden reasoning of one billed request, as the laws use them."""

from dataclasses import dataclass
from enum import StrEnum

from audit.billing_records import BilledRequest, OpaqueEvidence, Refusal, Tier, Unchecked
from audit.hidden_tokens.laws import Counted, counted_of


class OpaqueKind(StrEnum):
    """What stands in for the reasoning, the most telling first."""

    BLOB = "blob"
    SIGNATURE = "signature"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueSample:
    """One stand-in of one billed request."""

    model: str
    kind: OpaqueKind
    num_chars: int
    num_items: int
    num_answer_chars: int
    counted: Counted
    count: int
    """Tokens billed, of the counted kind."""


def opaque_samples(request: BilledRequest) -> tuple[OpaqueSample, ...] | Unchecked:
    """Return the stand-ins of a request, the most telling first, or why none can be used."""
    evidence = request.opaque
    if evidence is None:
        return unchecked(Refusal.NO_EVIDENCE, "no sizes of hidden reasoning were recorded")
    if request.is_aggregator:
        return unchecked(
            Refusal.NOT_A_METER_READING, "a middleman counted again, with another tokenizer perhaps"
        )
    if evidence.has_builtin_tools:
        return unchecked(
            Refusal.UNREADABLE_EVIDENCE, "results of the provider's own tools may be inside"
        )
    sizes = _sizes(evidence)
    if evidence.num_blobs < 1 or any(size < 0 for size in sizes.values()):
        return unchecked(Refusal.UNREADABLE_EVIDENCE, "a size or a number of blobs is negative")
    counted, count = counted_of(request)
    samples = tuple(
        OpaqueSample(
            model=request.model,
            kind=kind,
            num_chars=size,
            num_items=evidence.num_blobs if kind is OpaqueKind.BLOB else 1,
            num_answer_chars=len(request.answer or ""),
            counted=counted,
            count=count,
        )
        for kind, size in sizes.items()
        if size > 0
    )
    return samples or unchecked(Refusal.NO_EVIDENCE, "nothing stood in for the reasoning")


def unchecked(reason: Refusal, detail: str) -> Unchecked:
    """Return that opaque sizes say nothing about a request."""
    return Unchecked(tier=Tier.OPAQUE, reason=reason, detail=detail)


def _sizes(evidence: OpaqueEvidence) -> dict[OpaqueKind, int]:
    return {
        OpaqueKind.BLOB: evidence.blob_chars or 0,
        OpaqueKind.SIGNATURE: evidence.signature_chars or 0,
        OpaqueKind.SUMMARY: evidence.summary_chars or 0,
    }
