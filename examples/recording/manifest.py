"""Write traffic files below a size limit, and `manifest.json`, which tells what was really run.

The manifest is made anew from the plans and from the files that are there, so a change to a plan's
words needs no new recording. Not run by itself; `record.py` imports it.
"""

import gzip
import json
from pathlib import Path
from typing import Any

from bodies import Body
from client import num_output_tokens
from plans import Plan

MAX_FILE_BYTES = 1_850_000
MAX_LABEL_CHARACTERS = 28


def _path(out: Path, plan: Plan) -> Path:
    """Return the file of a plan."""
    return out / f"{plan.name}.jsonl{'.gz' if plan.is_compressed else ''}"


def _entry(plan: Plan, path: Path) -> dict[str, Any]:
    """Return the manifest entry of one file."""
    raw = gzip.decompress(path.read_bytes()) if plan.is_compressed else path.read_bytes()
    lines: list[Body] = [json.loads(line) for line in raw.splitlines()]
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
        "recorded_with": f"record.py {'--study ' if plan.is_compressed else ''}--only {plan.name}",
    }


def write_manifest(out: Path, plans: tuple[Plan, ...]) -> None:
    """Write an entry for each recorded file of a plan, sorted by file name.

    Raises:
        ValueError: if a plan's label is too long for a table.
    """
    paths = [(plan, _path(out, plan)) for plan in plans]
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
    if plan.is_compressed:
        encoded = gzip.compress(encoded, mtime=0)
    if len(encoded) > MAX_FILE_BYTES:
        raise ValueError(f"{plan.name}: {len(encoded)} bytes, more than {MAX_FILE_BYTES}")
    path = _path(out, plan)
    path.write_bytes(encoded)
    return path
