from collections.abc import Sequence
from pathlib import Path

import pytest

from audit.errors import EntryNotFound, VerificationError
from audit.ledger.notes import SignedNote, format_note, format_vkey, open_note, parse_note
from audit.ledger.witness.client import WitnessAhead, WitnessRefused, WitnessUnavailable
from audit.ledger.witness.gather import Gatherer, gather
from audit.ledger.witness.protocol import parse_add_checkpoint
from audit.ledger.witness_policy import WitnessPolicy, parse_policy
from audit.log_records import StoredCheckpoint
from tests.unit.ledger.witness.logs import (
    LOG_SIGNER,
    NOW_S,
    ORIGIN,
    FakeLog,
    make_witness,
    running_witness,
    scripted,
    witness_signer,
)

LOG = FakeLog()
TIMEOUT_S = 30.0
DEAD_URL = "http://127.0.0.1:1"


def policy_of(urls: dict[int, str | None], quorum: str = "all") -> WitnessPolicy:
    lines = [f"log {format_vkey(LOG_SIGNER.key)}"]
    lines += [
        f"witness w{number} {format_vkey(witness_signer(number).key)} {url or ''}"
        for number, url in urls.items()
    ]
    lines += [f"group g {quorum} " + " ".join(f"w{number}" for number in urls), "quorum g"]
    return parse_policy("\n".join(lines) + "\n")


def signers_of(note: bytes, numbers: Sequence[int]) -> list[str]:
    keys = [LOG_SIGNER.key, *(witness_signer(number).key for number in numbers)]
    return [found.key.name for found in open_note(note, keys).verified]


def lie(body: bytes) -> tuple[int, str, bytes]:
    text = parse_note(LOG.note(3)).text
    return 200, "text/plain", witness_signer(11).cosign(text, NOW_S).encode()


@pytest.mark.parametrize(("quorum", "is_met"), [("any", True), ("2", False), ("all", False)])
def test_a_dead_and_a_lying_witness_do_not_stop_a_good_one(
    tmp_path: Path, quorum: str, is_met: bool
) -> None:
    with running_witness(tmp_path / "state.db") as good, scripted(lie) as lying:
        policy = policy_of({12: DEAD_URL, 11: lying, 10: good}, quorum)
        gathered = gather(LOG.note(9), policy, prove=LOG.prove, timeout_s=TIMEOUT_S)
    assert gathered.is_met is is_met
    assert gathered.cosigned == {"w10": NOW_S}
    assert {name: type(error) for name, error in gathered.failures.items()} == {
        "w12": WitnessUnavailable,
        "w11": WitnessRefused,
    }
    assert signers_of(gathered.note, [10, 11, 12]) == [ORIGIN, witness_signer(10).key.name]
    assert len(parse_note(gathered.note).signatures) == 2


def test_a_quorum_of_two_in_three(tmp_path: Path) -> None:
    with (
        running_witness(tmp_path / "a.db", number=10) as first,
        running_witness(tmp_path / "b.db", number=11) as second,
    ):
        policy = policy_of({10: first, 11: second, 12: DEAD_URL}, "2")
        gathered = gather(LOG.note(9), policy, prove=LOG.prove, timeout_s=TIMEOUT_S)
    assert gathered.is_met
    assert gathered.note.startswith(LOG.note(9))
    assert len(signers_of(gathered.note, [10, 11])) == 3


def test_witnesses_without_a_url_are_not_asked() -> None:
    gathered = gather(LOG.note(9), policy_of({10: None}), prove=LOG.prove)
    assert (gathered.is_met, gathered.failures, gathered.note) == (False, {}, LOG.note(9))


def test_a_policy_without_witnesses_is_met_by_the_log_alone() -> None:
    policy = parse_policy(f"log {format_vkey(LOG_SIGNER.key)}\nquorum none\n")
    gathered = gather(LOG.note(9), policy, prove=LOG.prove)
    assert (gathered.is_met, gathered.note) == (True, LOG.note(9))


def test_an_older_line_is_kept_until_a_fresh_one_replaces_it(tmp_path: Path) -> None:
    text = parse_note(LOG.note(9)).text
    with running_witness(tmp_path / "state.db") as url:
        held = LOG.note(9) + witness_signer(10).cosign(text, NOW_S - 500).encode()
        dead = gather(held, policy_of({10: DEAD_URL}), prove=LOG.prove, timeout_s=TIMEOUT_S)
        alive = gather(held, policy_of({10: url}), prove=LOG.prove, timeout_s=TIMEOUT_S)
    assert (dead.note, dead.is_met, dead.cosigned) == (held, True, {"w10": NOW_S - 500})
    assert isinstance(dead.failures["w10"], WitnessUnavailable)
    assert (alive.is_met, alive.cosigned) == (True, {"w10": NOW_S})
    assert len(parse_note(alive.note).signatures) == 2


def test_a_forged_line_in_the_note_is_dropped() -> None:
    other = parse_note(
        LOG.note(9) + witness_signer(10).cosign(parse_note(LOG.note(8)).text, NOW_S).encode()
    )
    forged = format_note(SignedNote(parse_note(LOG.note(9)).text, other.signatures))
    gathered = gather(forged, policy_of({10: None}), prove=LOG.prove)
    assert (gathered.note, gathered.is_met, gathered.cosigned) == (LOG.note(9), False, {})


def test_a_log_that_is_behind_a_witness_is_told(tmp_path: Path) -> None:
    with running_witness(tmp_path / "state.db") as url:
        policy = policy_of({10: url})
        gather(LOG.note(20), policy, prove=LOG.prove, timeout_s=TIMEOUT_S)
        gathered = gather(LOG.note(9), policy, prove=LOG.prove, timeout_s=TIMEOUT_S)
    assert gathered.ahead == 20
    assert isinstance(gathered.failures["w10"], WitnessAhead)
    assert not gathered.is_met


def test_a_proof_that_cannot_be_made_fails_that_witness_only(tmp_path: Path) -> None:
    def prove(old: int, new: int) -> tuple[bytes, ...]:
        raise EntryNotFound("gone")

    with (
        running_witness(tmp_path / "a.db", number=10) as behind,
        running_witness(tmp_path / "b.db", number=11) as new,
    ):
        gather(LOG.note(5), policy_of({10: behind}), prove=LOG.prove, timeout_s=TIMEOUT_S)
        policy = policy_of({10: behind, 11: new}, "any")
        gathered = gather(LOG.note(9), policy, prove=prove, timeout_s=TIMEOUT_S)
    assert gathered.is_met
    assert isinstance(gathered.failures["w10"], EntryNotFound)


def test_a_note_that_is_no_checkpoint_is_told() -> None:
    with pytest.raises(VerificationError, match="no empty line"):
        gather(b"nothing\n", policy_of({10: DEAD_URL}), prove=LOG.prove)


def test_a_gatherer_remembers_what_each_witness_has_seen(tmp_path: Path) -> None:
    asked: list[int] = []
    witness = make_witness(tmp_path / "state.db")

    def answer(body: bytes) -> tuple[int, str, bytes]:
        asked.append(parse_add_checkpoint(body).old_size)
        reply = witness.add_checkpoint(body)
        return reply.status, reply.content_type, reply.body

    def stored(size: int) -> StoredCheckpoint:
        return StoredCheckpoint(
            size=size, root=LOG.root(size), note=LOG.note(size), issued_at="2026-01-01T00:00:00Z"
        )

    with scripted(answer) as url:
        gatherer = Gatherer(policy_of({10: url}), LOG.prove, TIMEOUT_S)
        for size in (5, 5, 9, 300):
            note, is_met = gatherer.witness(stored(size))
            assert is_met
            assert len(signers_of(note, [10])) == 2
        assert asked == [0, 5, 5, 9]
        # after a restart the first answer is 409, and the second request has the right proof
        assert Gatherer(policy_of({10: url}), LOG.prove, TIMEOUT_S).witness(stored(310))[1]
    assert asked[4:] == [0, 300]
