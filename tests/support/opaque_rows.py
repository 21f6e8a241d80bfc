"""Real stand-ins of hidden reasoning beside real billed counts.

Blobs are split by the recording that they are from. The recordings do not mark the provider's own
tools; their names do.
"""

import functools
import hashlib
import re
from collections.abc import Iterable

from audit.billing_records import BilledRequest, BilledUsage, OpaqueEvidence, Unchecked, UsageSchema
from audit.hidden_tokens.opaque import OpaqueLaws
from audit.hidden_tokens.opaque_evidence import OpaqueKind, OpaqueSample, opaque_samples
from audit.hidden_tokens.opaque_fit import family_of
from tests.support.hidden_tokens import Row, load_blob_pairs, load_rows

_OWN_TOOLS = re.compile("builtin|native_tool|code_execution|file_search|server_side")

#: Characters of a token of English, where only the tokens of a summary were recorded.
_CHARS_PER_TOKEN = 4


def of_blob(row: Row, factor: float = 1.0) -> BilledRequest:
    """Return the bill beside a blob."""
    tokens = round(row["reasoning_tokens"] * factor)
    evidence = OpaqueEvidence(
        blob_chars=row["blob_chars"],
        num_blobs=row["blobs"],
        has_builtin_tools=row["provider"] == "google" and bool(_OWN_TOOLS.search(row["path"])),
    )
    return _request(row["model"], (tokens, tokens), evidence)


def of_signature(row: Row, factor: float = 1.0) -> BilledRequest:
    """Return the bill beside a signature; it states all output tokens only."""
    evidence = OpaqueEvidence(signature_chars=row["signature_chars"])
    tokens = round(row["completion_tokens_billed"] * factor)
    return _request(row["model"], (tokens, None), evidence, row["answer"])


def of_summary(row: Row) -> BilledRequest:
    """Return the bill beside a summary."""
    evidence = OpaqueEvidence(summary_chars=_CHARS_PER_TOKEN * row["reasoning_tokens_approx"])
    tokens = row["reasoning_tokens_billed"]
    return _request(row["model"], (tokens, tokens), evidence)


def samples_of(requests: Iterable[BilledRequest]) -> list[OpaqueSample]:
    """Return the samples of the requests that can be used."""
    found: list[OpaqueSample] = []
    for one in requests:
        read = opaque_samples(one)
        found.extend(() if isinstance(read, Unchecked) else read)
    return found


def errors_of(
    laws: OpaqueLaws, key: tuple[str, OpaqueKind], rows: Iterable[OpaqueSample]
) -> list[float]:
    """Return relative errors of the rows that are of the family and kind."""
    curve = laws.laws[key].curve
    return [
        abs(curve.predict(row) / row.count - 1.0)
        for row in rows
        if (family_of(row.model), row.kind) == key
    ]


@functools.cache
def blob_halves() -> tuple[list[Row], list[Row]]:
    """Return the rows of either half of the recordings."""
    halves: tuple[list[Row], list[Row]] = ([], [])
    for row in load_blob_pairs():
        if "reasoning_tokens" in row:
            halves[hashlib.sha256(row["path"].encode()).digest()[0] & 1].append(row)
    return halves


def signed_rows(name: str) -> list[Row]:
    """Return the rows of a part of the data with a signature."""
    return [row for row in load_rows(name) if row["signature_chars"]]


def summary_rows(model: str) -> list[Row]:
    """Return the rows of a model whose reasoning was summarised and billed."""
    return [
        row
        for name in ("billed_train", "billed_calib")
        for row in load_rows(name)
        if row["model"] == model
        and row["reasoning_tokens_approx"]
        and row["reasoning_tokens_billed"]
    ]


def _request(
    model: str, usage: tuple[int, int | None], evidence: OpaqueEvidence, answer: str = ""
) -> BilledRequest:
    return BilledRequest(
        request_id="r-1",
        account="acme",
        provider="real",
        model=model,
        usage=BilledUsage(
            schema=UsageSchema.OPENAI_CHAT, output_tokens=usage[0], reasoning_tokens=usage[1]
        ),
        observed_at="2026-01-02T03:04:05Z",
        answer=answer,
        opaque=evidence,
    )
