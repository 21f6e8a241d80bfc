"""`witness`: vouch for other people's logs by cosigning their checkpoints.

A witness is worth something to a log only where somebody else runs it, on another machine.
"""

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.cli import options
from audit.cli.lines import print_line, stderr, stdout
from audit.errors import ConfigurationError, VerificationError
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.key_files import load_or_create_private
from audit.ledger.note_keys import NoteKey, format_vkey, parse_vkey, require_key_name
from audit.ledger.witness.server import WitnessServer, serving
from audit.ledger.witness.state import WitnessState
from audit.ledger.witness.witness import Witness

DEFAULT_LISTEN = "127.0.0.1:50061"
DEFAULT_KEY = Path("var/witness-key.pem")
DEFAULT_STATE = Path("var/witness-state.db")

_STOPPING = (signal.SIGINT, signal.SIGTERM)

Key = Annotated[
    Path, typer.Option("--key", metavar="FILE", help="Ed25519 key; made at the first start.")
]
Name = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="NAME",
        help="The witness' name in its key, such as witness.example.org/w1.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Cosign the checkpoints of logs, so that they cannot fork unseen.",
        no_args_is_help=True,
    )
    group.command()(serve)
    group.command()(vkey)
    app.add_typer(group, name="witness")


def serve(
    name: Name,
    log: Annotated[
        list[str],
        typer.Option(metavar="VKEY", help="Key of a log to vouch for; may be given again."),
    ],
    key: Key = DEFAULT_KEY,
    state: Annotated[
        Path,
        typer.Option(metavar="FILE", help="What was cosigned last; never restore an older copy."),
    ] = DEFAULT_STATE,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT")] = DEFAULT_LISTEN,
    as_json: options.AsJson = False,
) -> None:
    """Answer requests to cosign until interrupted; prints the key that verifiers need."""
    host, port = _parse_address(listen)
    logs = [_parse_log(text) for text in log]
    # First the state: a key without one has signed before, and must not start with an empty one.
    opened = _open_state(state, key)
    signer = WitnessSigner(_require_name(name), _load_key(key))
    witness = Witness(signer, logs, opened, lambda: int(time.time()))
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in _STOPPING}
    try:
        with serving(WitnessServer(witness, host, port)) as server:
            _announce(signer.key, host, server.server_port, state, logs, as_json=as_json)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def vkey(name: Name, key: Key = DEFAULT_KEY, as_json: options.AsJson = False) -> None:
    """Print the key of a witness that has been started before, as policies want it."""
    if not key.exists():
        raise ConfigurationError(
            f"there is no key {key}: it is made at the first start of `witness serve`"
        )
    text = format_vkey(WitnessSigner(_require_name(name), _load_key(key)).key)
    if as_json:
        print_line({"name": name, "vkey": text})
    else:
        _print_text(text)


def _announce(
    own: NoteKey, host: str, port: int, state: Path, logs: list[NoteKey], *, as_json: bool
) -> None:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    origins = sorted({known.name for known in logs})
    if as_json:
        print_line(
            {
                "url": f"http://{address}",
                "vkey": format_vkey(own),
                "state": str(state),
                "origins": origins,
            }
        )
        return
    stderr().print(
        f"witness for {', '.join(origins)} on http://{address}; state {state}", highlight=False
    )
    _print_text(format_vkey(own))


def _print_text(text: str) -> None:
    # a vkey is copied into policies: it must neither be wrapped nor coloured
    stdout().print(text, markup=False, highlight=False, soft_wrap=True)


def _open_state(path: Path, key: Path) -> WitnessState:
    if key.exists() and not path.exists():
        raise ConfigurationError(
            f"the key {key} has been used, but its state {path} is missing: without it the witness "
            "would cosign a fork. Name the right file, or begin anew with another key"
        )
    return WitnessState(path, may_create=not key.exists())


def _load_key(path: Path) -> Ed25519PrivateKey:
    private_key = load_or_create_private(path, Ed25519PrivateKey.generate)
    if not isinstance(private_key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path} is not an Ed25519 key: name another file")
    return private_key


def _require_name(name: str) -> str:
    try:
        require_key_name(name)
    except VerificationError as error:
        raise ConfigurationError(
            f"--name: {error}; take one like witness.example.org/w1"
        ) from error
    return name


def _parse_log(text: str) -> NoteKey:
    try:
        return parse_vkey(text)
    except VerificationError as error:
        raise ConfigurationError(
            f"--log: {error}; name the vkey that the log's operator publishes"
        ) from error


def _parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ConfigurationError(f"--listen {text!r} is not HOST:PORT, such as {DEFAULT_LISTEN}")
    return host.strip("[]") or "127.0.0.1", int(port)
