"""Each answer of the witness, over real HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from audit.errors import ConfigurationError
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.http_post import Answer
from audit.ledger.merkle import EMPTY_ROOT
from audit.ledger.notes import (
    Ed25519NoteSigner,
    MlDsa44NoteSigner,
    NoteKey,
    NoteSigner,
    SignedNote,
    format_note,
    open_note,
    parse_note,
    sign_note,
)
from audit.ledger.witness.protocol import AddCheckpoint, format_add_checkpoint
from audit.ledger.witness.server import WitnessServer, serving
from audit.ledger.witness.state import Cosigned, WitnessState
from audit.ledger.witness.witness import Witness
from tests.unit.ledger.witness.logs import (
    LOG_SIGNER,
    NOW_S,
    ORIGIN,
    OTHER_SIGNER,
    FakeLog,
    ask,
    key_of,
    make_witness,
    witness_signer,
)

LOG = FakeLog()


@dataclass
class Subject:
    """A running witness, and its clock."""

    path: Path
    url: str = ""
    now_s: int = NOW_S

    def post(self, body: bytes) -> Answer:
        return ask(self.url, body)

    def seen(self) -> Cosigned | None:
        return WitnessState(self.path).latest(ORIGIN)

    def grow(self, *sizes: int) -> None:
        old = 0
        for size in sizes:
            assert self.post(LOG.request(old, size)).status == 200
            old = size


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    made = Subject(tmp_path / "state.db")
    witness = make_witness(made.path, clock_s=lambda: made.now_s)
    with serving(WitnessServer(witness)) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        yield made


def with_note(note: bytes, old: int = 0) -> bytes:
    return format_add_checkpoint(AddCheckpoint(old_size=old, proof=(), note=note))


def note_of(text: str, *signers: NoteSigner) -> bytes:
    return sign_note(text, signers or (LOG_SIGNER,))


def require_cosigned(answer: Answer, size: int, key: NoteKey, log: FakeLog = LOG) -> None:
    assert (answer.status, answer.content_type) == (200, "text/plain")
    text = parse_note(log.note(size)).text
    opened = open_note(text.encode() + b"\n" + answer.body, [key])
    assert [(found.key, found.timestamp_s) for found in opened.verified] == [(key, NOW_S)]
    assert opened.unverified == ()


def test_200_cosigns_the_first_tree_and_each_that_continues_it(subject: Subject) -> None:
    old = 0
    for size in (3, 4, 4, 100, 256, 300):
        answer = subject.post(LOG.request(old, size))
        require_cosigned(answer, size, witness_signer().key)
        assert subject.seen() == Cosigned(size=size, root=LOG.root(size), cosigned_at_s=NOW_S)
        old = size


def test_200_cosigns_the_empty_tree(subject: Subject) -> None:
    require_cosigned(subject.post(LOG.request(0, 0)), 0, witness_signer().key)
    require_cosigned(subject.post(LOG.request(0, 0)), 0, witness_signer().key)
    require_cosigned(subject.post(LOG.request(0, 5)), 5, witness_signer().key)


def test_200_ignores_lines_of_unknown_keys(subject: Subject) -> None:
    signers = (OTHER_SIGNER, LOG_SIGNER, Ed25519NoteSigner("elsewhere.example", key_of(3)))
    answer = subject.post(with_note(LOG.note(5, signers)))
    require_cosigned(answer, 5, witness_signer().key)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no empty line"),
        (b"new 0\n\n" + LOG.note(5), "the first line is not `old <size>`"),
        (b"old 0\n\nnot a note\n", "the note has no empty line"),
        (b"old 0\n\n" + LOG.note(5)[:-1], "the note does not end with a newline"),
        (with_note(note_of(f"{ORIGIN}\n5\n")), "2 lines instead of 3"),
        (with_note(note_of(f"{ORIGIN}\n05\nAAAA\n")), "leading zero"),
        (with_note(b"\xff" + LOG.note(5)), "not UTF-8"),
    ],
)
def test_400_for_what_is_malformed(subject: Subject, body: bytes, problem: str) -> None:
    answer = subject.post(body)
    assert answer.status == 400
    assert problem in answer.body.decode()
    assert subject.seen() is None


def test_400_for_extension_lines(subject: Subject) -> None:
    text = format_checkpoint_body(Checkpoint(origin=ORIGIN, size=5, root=LOG.root(5)))
    answer = subject.post(with_note(note_of(text + "frozen\n")))
    assert (answer.status, b"extension" in answer.body) == (400, True)
    assert subject.seen() is None


def test_400_for_an_old_size_above_the_new(subject: Subject) -> None:
    subject.grow(9)
    answer = subject.post(LOG.request(9, 5, ()))
    assert answer.status == 400
    assert answer.body == b"the old size 9 is above the checkpoint's, 5\n"


def test_404_for_an_unknown_origin(subject: Subject) -> None:
    text = format_checkpoint_body(Checkpoint(origin="other.example", size=0, root=EMPTY_ROOT))
    signer = Ed25519NoteSigner("other.example", key_of(1))
    answer = subject.post(with_note(note_of(text, signer)))
    assert (answer.status, answer.body) == (404, b"no log 'other.example' is known here\n")


def test_403_without_a_line_of_a_trusted_key(subject: Subject) -> None:
    answer = subject.post(with_note(LOG.note(5, (OTHER_SIGNER,))))
    assert (answer.status, answer.body[:12]) == (403, b"no known key")
    assert subject.seen() is None


@pytest.mark.parametrize("is_good_line_there", [True, False])
def test_403_for_a_forged_line_of_a_trusted_key(subject: Subject, is_good_line_there: bool) -> None:
    """A trusted key's line that fails spoils the note, even beside a good one."""
    good = parse_note(LOG.note(5)).signatures[0]
    forged = parse_note(LOG.note(6)).signatures[0]
    lines = (good, forged) if is_good_line_there else (forged,)
    note = SignedNote(parse_note(LOG.note(5)).text, lines)
    answer = subject.post(with_note(format_note(note)))
    assert answer.status == 403
    assert answer.body == f"the signature of {ORIGIN} does not verify\n".encode()
    assert subject.seen() is None


@pytest.mark.parametrize("old", [0, 2, 4])
def test_409_names_the_size_last_cosigned(subject: Subject, old: int) -> None:
    subject.grow(3)
    answer = subject.post(LOG.request(old, 5))
    assert (answer.status, answer.content_type, answer.body) == (409, "text/x.tlog.size", b"3\n")


def test_409_for_a_first_checkpoint_with_an_old_size(subject: Subject) -> None:
    answer = subject.post(LOG.request(2, 5))
    assert (answer.status, answer.content_type, answer.body) == (409, "text/x.tlog.size", b"0\n")


def test_409_for_a_log_that_was_set_back(subject: Subject) -> None:
    subject.grow(9)
    answer = subject.post(LOG.request(3, 5))
    assert (answer.status, answer.body) == (409, b"9\n")
    seen = subject.seen()
    assert seen is not None
    assert seen.size == 9


def test_422_for_a_fork_at_equal_size(subject: Subject) -> None:
    subject.grow(5)
    answer = subject.post(FakeLog(forked_at=4).request(5, 5))
    assert (answer.status, b"the log is forked" in answer.body) == (422, True)
    assert subject.seen() == Cosigned(size=5, root=LOG.root(5), cosigned_at_s=NOW_S)


@pytest.mark.parametrize("new", [6, 8, 40])
def test_422_for_a_fork_further_on(subject: Subject, new: int) -> None:
    subject.grow(5)
    answer = subject.post(FakeLog(forked_at=2).request(5, new))
    assert answer.status == 422
    assert subject.seen() == Cosigned(size=5, root=LOG.root(5), cosigned_at_s=NOW_S)


@pytest.mark.parametrize("spoil", ["flip", "drop", "add", "swap", "none"])
def test_422_for_a_wrong_proof(subject: Subject, spoil: str) -> None:
    subject.grow(5)
    proof = list(LOG.prove(5, 13))
    if spoil == "flip":
        proof[1] = bytes([proof[1][0] ^ 1]) + proof[1][1:]
    elif spoil == "drop":
        proof.pop()
    elif spoil == "add":
        proof.append(bytes(32))
    elif spoil == "swap":
        proof[0], proof[1] = proof[1], proof[0]
    else:
        proof = []
    assert subject.post(LOG.request(5, 13, proof)).status == 422
    assert subject.post(LOG.request(5, 13)).status == 200


@pytest.mark.parametrize("size", [0, 5])
def test_422_for_a_proof_from_the_empty_tree(subject: Subject, size: int) -> None:
    answer = subject.post(LOG.request(0, size, (bytes(32),)))
    assert (answer.status, answer.body) == (422, b"a proof for old size 0 must be empty\n")
    assert subject.seen() is None


def test_422_for_a_proof_at_equal_size(subject: Subject) -> None:
    subject.grow(5)
    assert subject.post(LOG.request(5, 5, (bytes(32),))).status == 422


def test_422_for_an_empty_tree_with_another_root(subject: Subject) -> None:
    text = format_checkpoint_body(Checkpoint(origin=ORIGIN, size=0, root=bytes(32)))
    answer = subject.post(with_note(note_of(text)))
    assert (answer.status, b"size 0" in answer.body) == (422, True)
    assert subject.seen() is None


def test_a_forged_line_of_the_witness_changes_nothing(subject: Subject) -> None:
    """Somebody sends a far larger tree with a line that claims to be our own cosignature."""
    subject.grow(3)
    fork = FakeLog(forked_at=0)
    text = parse_note(fork.note(50)).text
    liar = WitnessSigner(witness_signer().key.name, key_of(77))
    stolen = parse_note((text + "\n" + liar.cosign(text, NOW_S)).encode()).signatures[0]
    own = witness_signer().key
    forged = type(stolen)(own.name, own.key_hash, stolen.signature)
    log_line = parse_note(fork.note(50)).signatures[0]
    for lines in ((forged,), (forged, log_line), (log_line, forged)):
        for old in (0, 3, 50):
            note = format_note(SignedNote(text, lines))
            assert subject.post(with_note(note, old)).status in (403, 409, 422)
    assert subject.seen() == Cosigned(size=3, root=LOG.root(3), cosigned_at_s=NOW_S)
    assert subject.post(LOG.request(3, 4)).status == 200


def test_503_while_the_clock_runs_behind(subject: Subject) -> None:
    subject.grow(3)
    subject.now_s = NOW_S - 1
    answer = subject.post(LOG.request(3, 5))
    assert (answer.status, b"clock runs behind" in answer.body) == (503, True)
    assert subject.seen() == Cosigned(size=3, root=LOG.root(3), cosigned_at_s=NOW_S)
    subject.now_s = NOW_S
    assert subject.post(LOG.request(3, 5)).status == 200


def test_503_where_no_time_can_be_stated(subject: Subject) -> None:
    subject.now_s = 0
    assert subject.post(LOG.request(0, 5)).status == 503


def test_503_where_the_state_cannot_be_stored(subject: Subject) -> None:
    subject.path.unlink()
    answer = subject.post(LOG.request(0, 5))
    assert (answer.status, answer.body) == (503, b"the witness cannot store its state\n")


def test_logs_do_not_share_a_state(tmp_path: Path) -> None:
    second = Ed25519NoteSigner("second.example", key_of(5))
    witness = make_witness(tmp_path / "state.db", logs=(LOG_SIGNER.key, second.key))
    assert witness.add_checkpoint(LOG.request(0, 5)).status == 200
    text = format_checkpoint_body(Checkpoint(origin="second.example", size=0, root=EMPTY_ROOT))
    assert witness.add_checkpoint(with_note(note_of(text, second))).status == 200
    # a log's key is trusted for that log only
    other = Ed25519NoteSigner("second.example", key_of(1))
    assert witness.add_checkpoint(with_note(note_of(text, other))).status == 403


def test_a_post_quantum_line_beside_the_logs_first_is_taken(tmp_path: Path) -> None:
    second = MlDsa44NoteSigner(ORIGIN, MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
    body = with_note(LOG.note(5, (LOG_SIGNER, second)))
    for number, keys in enumerate(((LOG_SIGNER.key,), (second.key,), (LOG_SIGNER.key, second.key))):
        witness = make_witness(tmp_path / f"{number}.db", logs=keys)
        assert witness.add_checkpoint(body).status == 200


def test_one_of_several_keys_of_a_log_is_enough(tmp_path: Path) -> None:
    keys = (LOG_SIGNER.key, OTHER_SIGNER.key)
    witness = make_witness(tmp_path / "state.db", logs=keys)
    assert witness.add_checkpoint(with_note(LOG.note(5, (OTHER_SIGNER,)))).status == 200


def test_a_witness_does_not_use_a_logs_key(tmp_path: Path) -> None:
    signer = WitnessSigner("witness.test.example/w1", key_of(1))
    state = WitnessState(tmp_path / "state.db", may_create=True)
    with pytest.raises(ConfigurationError, match="one key must not have two roles"):
        Witness(signer, [LOG_SIGNER.key], state, lambda: NOW_S)


def test_a_cosigners_key_is_no_logs_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a log signs with Ed25519 or ML-DSA-44"):
        make_witness(tmp_path / "state.db", logs=(witness_signer(12).key,))
