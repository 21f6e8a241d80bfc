"""The real data on hidden reasoning tokens; tests that need it skip, with the reason, without it.

It stays beside the repository: `../shared/data`, or the folder that INFERENCE_AUDIT_DATA names.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).parents[3] / "shared" / "data"

Row = dict[str, Any]


def data_folder() -> Path:
    """Return the folder of the data; skips the test, or the module at its import, without it."""
    folder = Path(os.environ.get("INFERENCE_AUDIT_DATA", _BESIDE)) / "hidden_tokens"
    if not folder.is_dir():
        pytest.skip(f"no data on hidden tokens: {folder} is missing", allow_module_level=True)
    return folder


@cache
def load_rows(name: str) -> tuple[Row, ...]:
    """Return the rows of `billed_train`, `billed_calib`, `open_reasoning_train` and so on."""
    with gzip.open(data_folder() / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return tuple(json.loads(line) for line in lines)


@cache
def load_blob_pairs() -> tuple[Row, ...]:
    """Return sizes of opaque evidence beside billed counts."""
    text = (data_folder() / "opaque_blob_pairs.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


def split_groups(rows: Sequence[Row], salt: str = "half") -> tuple[list[Row], list[Row]]:
    """Return two halves that share no question: one to calibrate on, one to test on."""
    halves: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        digest = hashlib.sha256(f"{salt}:{row['prompt_group']}".encode()).digest()
        halves[digest[0] & 1].append(row)
    return halves


def as_document(row: Row, *, account: str = "team-a", factor: float = 1.0) -> Row:
    """Return a row as a client would submit it, its reasoning billed at a factor.

    Counts that were recovered from the total, and texts that were not kept, are left out.
    """
    reasoning = row["reasoning_tokens_billed"] or 0
    # the meter of these models moves in steps of 64, which a careful cheat would keep to
    excess = 64 * round(reasoning * (factor - 1.0) / 64)
    document: Row = {
        "request_id": row["id"],
        "account": account,
        "provider": "https://gateway.example/v1",
        "model": row["model"],
        "domain": row["domain"],
        "prompt": row["prompt"],
        "answer": row["answer"],
        "observed_at": "2026-11-01T00:00:00Z",
        "usage_schema": "openai_chat",
        "usage": {
            "completion_tokens": row["completion_tokens_billed"] + excess,
            "completion_tokens_details": {"reasoning_tokens": reasoning + excess},
        },
    }
    if row["elapsed_s"] is not None:
        document["timing"] = {"elapsed_s": row["elapsed_s"]}
    if row["effort"] is not None:
        document["effort"] = row["effort"]
    return document
