"""A log that tests can grow and fork, and witnesses that answer over real HTTP."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger import merkle
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.http_post import Answer, post
from audit.ledger.notes import Ed25519NoteSigner, NoteKey, NoteSigner, sign_note
from audit.ledger.witness.protocol import (
    PATH,
    REQUEST_TYPE,
    AddCheckpoint,
    format_add_checkpoint,
)
from audit.ledger.witness.server import WitnessServer, serving
from audit.ledger.witness.state import WitnessState
from audit.ledger.witness.witness import Witness

ORIGIN = "log.test.example"
NOW_S = 1_800_000_000


def key_of(number: int) -> Ed25519PrivateKey:
    """Return a fixed private key."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


LOG_SIGNER = Ed25519NoteSigner(ORIGIN, key_of(1))
OTHER_SIGNER = Ed25519NoteSigner(ORIGIN, key_of(2))


def witness_signer(number: int = 10) -> WitnessSigner:
    return WitnessSigner(f"witness.test.example/w{number}", key_of(number))


@dataclass(frozen=True)
class FakeLog:
    """A tree of numbered leaves, which is another from leaf `forked_at` on."""

    forked_at: int | None = None
    fork: bytes = b"fork"

    def leaf(self, index: int) -> bytes:
        is_forked = self.forked_at is not None and index >= self.forked_at
        return merkle.leaf_hash((self.fork if is_forked else b"") + b"%d" % index)

    def read(self, level: int, index: int) -> bytes:
        return merkle.perfect_root(
            [self.leaf(leaf) for leaf in range(index << level, (index + 1) << level)]
        )

    def root(self, size: int) -> bytes:
        return merkle.root_at(size, self.read) if size else merkle.EMPTY_ROOT

    def prove(self, old: int, new: int) -> tuple[bytes, ...]:
        return merkle.consistency_proof(old, new, self.read) if 0 < old < new else ()

    def note(self, size: int, signers: Sequence[NoteSigner] = (LOG_SIGNER,)) -> bytes:
        checkpoint = Checkpoint(origin=ORIGIN, size=size, root=self.root(size))
        return sign_note(format_checkpoint_body(checkpoint), signers)

    def request(self, old: int, new: int, proof: Sequence[bytes] | None = None) -> bytes:
        hashes = tuple(self.prove(old, new) if proof is None else proof)
        return format_add_checkpoint(AddCheckpoint(old_size=old, proof=hashes, note=self.note(new)))


def make_witness(
    path: Path,
    *,
    number: int = 10,
    logs: Sequence[NoteKey] = (LOG_SIGNER.key,),
    clock_s: Callable[[], int] = lambda: NOW_S,
) -> Witness:
    state = WitnessState(path, may_create=not path.exists())
    return Witness(witness_signer(number), logs, state, clock_s)


@contextmanager
def running_witness(path: Path, *, number: int = 10) -> Iterator[str]:
    """Yield the URL of a witness with its state in a file."""
    with serving(WitnessServer(make_witness(path, number=number))) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def ask(url: str, body: bytes) -> Answer:
    return post(
        url + PATH, body, content_type=REQUEST_TYPE, timeout_s=30.0, max_answer_bytes=65_536
    )


@contextmanager
def scripted(
    answer: Callable[[bytes], tuple[int, str, bytes]], *, is_length_stated: bool = True
) -> Iterator[str]:
    """Yield the URL of a server that answers each POST as the function says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content_type, content = answer(body)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            if is_length_stated:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                pass  # the client had enough

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
