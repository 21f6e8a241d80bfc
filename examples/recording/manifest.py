"""Write traffic files below a size limit, and `manifest.json`, which tells what was really run.

The manifest is made anew from the plans and from the files that are there, so a change to a plan's
words needs no new recording. Not run by itself; `record.py` imports it.
"""

import json
from pathlib import Path
from typing import Any

from bodies import Body
from client import num_output_tokens
from plans import PLANS, Plan

MAX_FILE_BYTES = 1_850_000
MAX_LABEL_CHARACTERS = 28


def _entry(plan: Plan, path: Path) -> dict[str, Any]:
    """Return the manifest entry of one file."""
    with path.open(encoding="utf-8") as file:
        lines: list[Body] = [json.loads(line) for line in file]
    meta = lines[0]["meta"]
    if len(plan.label) > MAX_LABEL_CHARACTERS:
        raise ValueError(f"{plan.label!r} is longer than {MAX_LABEL_CHARACTERS} characters")
    return {
        "file": path.name,
        "label": plan.label,
        "num_exchanges": len(lines),
        "num_output_tokens": sum(num_output_tokens(line) for line in lines),
        "claim": plan.claim,
        "really_run": plan.really_run,
        "expected": plan.expected,
        **({"note": plan.note} if plan.note else {}),
        "engine": meta["engine"],
        "engine_version": meta["engine_version"],
        "dtype_claimed": meta["dtype"],
        "concurrencies": list(plan.concurrencies),
        "recorded_on": meta["started_at"][:10],
        "recorded_with": f"record.py --only {plan.name}",
    }


def write_manifest(out: Path) -> None:
    """Write an entry for each recorded file of a plan, sorted by file name.

    Raises:
        ValueError: if a plan's label is too long for a table.
    """
    paths = [(plan, out / f"{plan.name}.jsonl") for plan in PLANS]
    entries = [_entry(plan, path) for plan, path in paths if path.exists()]
    entries.sort(key=lambda entry: str(entry["file"]))
    text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    (out / "manifest.json").write_text(text, encoding="utf-8")


def write_traffic(out: Path, plan: Plan, lines: list[Body]) -> Path:
    """Write the lines of a plan into its file.

    Raises:
        ValueError: if the file would be too large; the plan should then ask for fewer exchanges.
    """
    encoded = b"".join(
        json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        for line in lines
    )
    if len(encoded) > MAX_FILE_BYTES:
        raise ValueError(f"{plan.name}: {len(encoded)} bytes, more than {MAX_FILE_BYTES}")
    path = out / f"{plan.name}.jsonl"
    path.write_bytes(encoded)
    return path
