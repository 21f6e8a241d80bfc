"""Write traffic files below a size limit and keep `manifest.json`, which tells what was really run.

Not run by itself; `record.py` imports it.
"""

import json
from pathlib import Path
from typing import Any

from bodies import Body
from client import num_output_tokens
from plans import Plan

MAX_FILE_BYTES = 1_850_000


def _chunks_below_limit(encoded: list[bytes]) -> list[list[bytes]]:
    """Return the lines grouped into files below the size limit, order kept, sizes alike."""
    num_files = -(-sum(map(len, encoded)) // MAX_FILE_BYTES)
    target = sum(map(len, encoded)) / num_files
    files: list[list[bytes]] = [[]]
    size = 0
    for line in encoded:
        if size + len(line) / 2 > target * len(files):
            files.append([])
        files[-1].append(line)
        size += len(line)
    return files


def _entry(plan: Plan, file: str, lines: list[Body]) -> dict[str, Any]:
    """Return the manifest entry of one file."""
    meta = lines[0]["meta"]
    return {
        "file": file,
        "num_exchanges": len(lines),
        "num_output_tokens": sum(num_output_tokens(line) for line in lines),
        "claim": plan.claim,
        "really_run": plan.really_run,
        "expected": plan.expected,
        "engine": meta["engine"],
        "engine_version": meta["engine_version"],
        "dtype_claimed": meta["dtype"],
        "concurrencies": list(plan.concurrencies),
        "recorded_on": meta["started_at"][:10],
        "recorded_with": f"record.py --only {plan.name}",
    }


def _update_manifest(out: Path, plan: Plan, entries: list[dict[str, Any]]) -> None:
    """Replace the manifest entries of a plan, keep those of the other plans."""
    path = out / "manifest.json"
    old: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    recorded_with = f"record.py --only {plan.name}"
    kept = [e for e in old if e["recorded_with"] != recorded_with]
    merged = sorted(kept + entries, key=lambda e: str(e["file"]))
    path.write_text(json.dumps(merged, indent=1, ensure_ascii=False) + "\n")


def write_traffic(out: Path, plan: Plan, lines: list[Body], *, numbered: bool) -> list[Path]:
    """Write the lines of a plan into one file or more, and enter them into the manifest."""
    encoded = [
        json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        for line in lines
    ]
    groups = _chunks_below_limit(encoded)
    for stale in out.glob(f"{plan.name}*.jsonl"):
        if stale.stem.removeprefix(plan.name).lstrip("-").isdigit() or stale.stem == plan.name:
            stale.unlink()
    paths: list[Path] = []
    entries: list[dict[str, Any]] = []
    start = 0
    for number, group in enumerate(groups, start=1):
        suffix = f"-{number}" if numbered or len(groups) > 1 else ""
        path = out / f"{plan.name}{suffix}.jsonl"
        path.write_bytes(b"".join(group))
        entries.append(_entry(plan, path.name, lines[start : start + len(group)]))
        paths.append(path)
        start += len(group)
    _update_manifest(out, plan, entries)
    return paths
