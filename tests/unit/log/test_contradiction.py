"""Which witnesses' answers speak of another history, and which are mere failures."""

from audit.errors import AuditError
from audit.ledger.witness.client import WitnessAhead, WitnessRefused, WitnessUnavailable
from audit.ledger.witness.gather import Gathered, contradicting


def gathered(**failures: AuditError) -> Gathered:
    return Gathered(note=b"", is_met=False, cosigned={}, failures=failures)


def test_a_refused_proof_and_a_larger_size_contradict() -> None:
    failures = gathered(
        forked=WitnessRefused(422, "another tree"),
        ahead=WitnessAhead(11, "seen 11"),
        behind=WitnessAhead(10, "seen 10"),
        strange=WitnessRefused(403, "who are you"),
        away=WitnessUnavailable("no answer"),
    )
    assert set(contradicting(failures, 10)) == {"forked", "ahead"}
