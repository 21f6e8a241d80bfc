"""Write the golden and the malformed envelopes anew: `python -m tests.golden.ledger.regenerate`.

Run it after an intended change of the signed format only, and review the difference.
"""

from pathlib import Path

from audit.ledger.envelope import DsseSigner
from tests.golden.ledger.examples import (
    KEY,
    VERIFIED_AT,
    VERSION,
    example_job,
    failed,
    inconclusive,
    passed,
)
from tests.golden.ledger.malformed import malformed

GOLDEN = Path(__file__).parent
ASSETS = Path(__file__).parents[2] / "assets" / "ledger"


def golden_files() -> dict[str, bytes]:
    """Return every golden file's content by name."""
    sign = DsseSigner(KEY, lambda: VERIFIED_AT, VERSION)
    verdicts = {"passed": passed(), "failed": failed(), "inconclusive": inconclusive()}
    envelopes = {
        f"{name}.envelope.json": sign(example_job(), verdict).envelope
        for name, verdict in verdicts.items()
    }
    return {**envelopes, "verdict.pub": KEY.public_key_pem}


def main() -> None:
    """Write all files."""
    for name, content in golden_files().items():
        (GOLDEN / name).write_bytes(content)
    ASSETS.mkdir(parents=True, exist_ok=True)
    for name, case in malformed().items():
        (ASSETS / name).write_bytes(case.content)


if __name__ == "__main__":
    main()
