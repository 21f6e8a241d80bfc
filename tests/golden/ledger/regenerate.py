"""Write the golden and the malformed envelopes anew: `python -m tests.golden.ledger.regenerate`.

Run it after an intended change of the signed format only, and review the difference.
"""

from pathlib import Path

from tests.golden.ledger.examples import KEY, example_entry, failed, inconclusive, passed
from tests.golden.ledger.malformed import malformed

GOLDEN = Path(__file__).parent
ASSETS = Path(__file__).parents[2] / "assets" / "ledger"


def golden_files() -> dict[str, bytes]:
    """Return every golden file's content by name."""
    verdicts = {"passed": passed(), "failed": failed(), "inconclusive": inconclusive()}
    entries = {name: example_entry(verdict) for name, verdict in verdicts.items()}
    envelopes = {f"{name}.envelope.json": entry.envelope for name, entry in entries.items()}
    return {**envelopes, "passed.leaf.json": entries["passed"].leaf_body} | {
        "verdict.pub": KEY.public_key_pem
    }


def main() -> None:
    """Write all files."""
    for name, content in golden_files().items():
        (GOLDEN / name).write_bytes(content)
    ASSETS.mkdir(parents=True, exist_ok=True)
    for name, case in malformed().items():
        (ASSETS / name).write_bytes(case.content)


if __name__ == "__main__":
    main()
