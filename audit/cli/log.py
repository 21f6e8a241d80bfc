"""`log`: what a running service has logged, with its proofs.

Every proof is checked here before anything is said of it; with `--log-key`, so is the signature of
every checkpoint. `group` takes further commands about the log.
"""

import base64
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from audit.cli import options
from audit.cli.lines import Line, print_line, stdout
from audit.client.log_check import LogCheck, computed_tree, signing_key_id
from audit.client.log_client import LogClient
from audit.codec.log_limits import EntryQuery
from audit.config import DEFAULT_LISTEN
from audit.errors import (
    ConfigurationError,
    EntryNotFound,
    InvalidRequest,
    VerificationError,
)
from audit.ledger.bundle import build_bundle
from audit.ledger.checkpoints import Checkpoint
from audit.ledger.notes import NoteKey, parse_vkey
from audit.ledger.sigstore_root import to_sigstore_trusted_root
from audit.ledger.tlog_proof import TlogProof, format_tlog_proof
from audit.ledger.trust_root import load_trust_root
from audit.log_records import EntryKind, LogEntry

LogKey = Annotated[
    str | None,
    typer.Option(
        "--log-key",
        metavar="VKEY",
        help="The log's public key (C2SP vkey, or a file with it): check its signatures too.",
    ),
]
Witnessed = Annotated[bool, typer.Option("--witnessed", help="The latest one witnesses cosigned.")]
OutFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")]

_UNSIGNED = "signatures not checked: give --log-key"

group = typer.Typer(help="Read the verdict log and check its proofs.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group.command()(checkpoint)
    group.command()(entries)
    group.command()(prove)
    group.command()(consistency)
    group.command()(bundle)
    group.command("trust-root")(trust_root)
    app.add_typer(group, name="log")


def checkpoint(
    address: options.Address = DEFAULT_LISTEN,
    witnessed: Witnessed = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Keep it, for `consistency`.")
    ] = None,
    log_key: LogKey = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the latest checkpoint: the log's signed statement of everything in it."""
    check = _check(log_key)
    with LogClient(address) as client:
        stored = client.checkpoint(witnessed=witnessed)
    stated = check.checkpoint(stored)
    if out is not None:
        _write(out, stored.note)
    if as_json:
        line = {"issued_at": stored.issued_at, "is_witnessed": stored.is_witnessed}
        text = stored.note.decode("utf-8")
        print_line(_tree_line(stated) | line | {"note": text, "is_signature_checked": _has(check)})
        return
    _say(f"{stated.origin}: {stated.size} entries, root {stated.root.hex()}")
    _say(f"issued {stored.issued_at}; witnessed: {'yes' if stored.is_witnessed else 'no'}")
    _say("its signature verifies" if _has(check) else _UNSIGNED)


def entries(
    address: options.Address = DEFAULT_LISTEN,
    first: Annotated[int, typer.Option(min=0, help="Index to begin with.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    kind: Annotated[
        list[EntryKind] | None,
        typer.Option(case_sensitive=False, help="Only this kind; may be given again."),
    ] = None,
    log_key: LogKey = None,
    as_json: options.AsJson = False,
) -> None:
    """List entries; with --log-key, each is checked against a signed checkpoint."""
    check = _check(log_key)
    query = EntryQuery(
        first_index=first, kinds=tuple(sorted(set(kind or ()))), with_envelopes=_has(check)
    )
    with LogClient(address) as client:
        found = list(islice(client.entries(query, page_size=min(limit, 100)), limit))
        if _has(check) and found:
            # Asked for after the entries, so that it covers all of them.
            tree = check.checkpoint(client.checkpoint())
            for entry in found:
                _require_included(client, check, entry, tree)
    if as_json:
        for entry in found:
            print_line(entry_line(entry) | {"is_proof_checked": _has(check)})
    elif found:
        stdout().print(_table(found))
        _say("each is proven to be in the log" if _has(check) else _UNSIGNED)
    else:
        _say("the log has no such entries")


def prove(
    target: Annotated[str, typer.Argument(metavar="INDEX|AUDIT_ID", help="Entry, or verdict.")],
    address: options.Address = DEFAULT_LISTEN,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A Sigstore bundle, JSON.")
    ] = None,
    tlog_proof: Annotated[
        Path | None, typer.Option("--tlog-proof", metavar="FILE", help="A C2SP tlog-proof.")
    ] = None,
    witnessed: Witnessed = False,
    log_key: LogKey = None,
) -> None:
    """Prove that an entry is in the log, and keep the proof in files."""
    check = _check(log_key)
    with LogClient(address) as client:
        entry = client.entry(int(target)) if _is_size(target) else client.find(f"verdict:{target}")
        check.entry(entry)
        answer = client.inclusion(entry.log_index, witnessed=witnessed)
        if answer.checkpoint is None:
            raise VerificationError("the service sent a proof without its checkpoint")
        tree = check.checkpoint(answer.checkpoint)
        check.inclusion(entry, answer.hashes, tree)
        key = check.trust_root(client.trust_root()) if out is not None else None
    note = answer.checkpoint.note
    if out is not None and key is not None:
        _write(out, _bundle(entry, tree, answer.hashes, note, key))
    if tlog_proof is not None:
        _write(tlog_proof, format_tlog_proof(TlogProof(entry.log_index, answer.hashes, note)))
    _say(f"{entry.entry_key} is entry {entry.log_index} of {tree.size}; {_signed(check)}")


def consistency(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A kept checkpoint, or a size.")],
    new: Annotated[
        str | None, typer.Argument(metavar="[NEW]", help="Another; default: the latest.")
    ] = None,
    address: options.Address = DEFAULT_LISTEN,
    log_key: LogKey = None,
    as_json: options.AsJson = False,
) -> None:
    """Prove that the log has only grown: nothing in OLD was changed or taken out since.

    It means most for a checkpoint that was kept (`log checkpoint --out FILE`): of a mere size, only
    the service itself can say what it held.
    """
    check = _check(log_key)
    if _is_size(old) and new is not None and _is_size(new) and int(old) > int(new):
        raise InvalidRequest.of("OLD", f"is {old}, above NEW, {new}: exchange the two")
    with LogClient(address) as client:
        latest = check.checkpoint(client.checkpoint())
        newer = latest if new is None else _tree(client, check, new, latest)
        older = _tree(client, check, old, latest)
        for first, second in ((older, newer), (newer, latest)):
            if (first.size, first.root) != (second.size, second.root):
                is_shorter = first.size > second.size
                hashes = () if is_shorter else client.consistency(first.size, second.size).hashes
                check.consistency(first, second, hashes)
    if as_json:
        trees = {"old": _tree_line(older), "new": _tree_line(newer)}
        print_line(trees | {"is_consistent": True, "is_signature_checked": _has(check)})
        return
    _say(f"{newer.size} entries, root {newer.root.hex()}")
    _say(f"begin with the {older.size} of root {older.root.hex()}")
    _say(_signed(check))


def bundle(
    audit_id: Annotated[str, typer.Argument(help="As printed by `submit` or `list`.")],
    out: OutFile,
    address: options.Address = DEFAULT_LISTEN,
    trust_root_file: Annotated[
        Path | None, typer.Option("--trust-root", metavar="FILE", help="Write that too.")
    ] = None,
    log_key: LogKey = None,
) -> None:
    """Fetch the evidence of one verdict, which Sigstore's tools read as well as `verify`."""
    check = _check(log_key)
    with LogClient(address) as client:
        evidence = client.evidence(audit_id)
        entry = client.find(f"verdict:{audit_id}")
    check.entry(entry)
    check.bundle(evidence.bundle, entry)
    check.trust_root(evidence.trust_root)
    _write(out, evidence.bundle)
    if trust_root_file is not None:
        _write(trust_root_file, evidence.trust_root)
    _say(f"{entry.entry_key} is entry {entry.log_index}; {_signed(check)}")


def trust_root(
    out: OutFile,
    address: options.Address = DEFAULT_LISTEN,
    sigstore: Annotated[
        Path | None,
        typer.Option("--sigstore", metavar="FILE", help="Also as Sigstore's trusted root."),
    ] = None,
    log_key: LogKey = None,
) -> None:
    """Fetch the keys to verify with; compare them with a copy that came another way."""
    check = _check(log_key)
    with LogClient(address) as client:
        data = client.trust_root()
    check.trust_root(data)
    _write(out, data)
    if sigstore is not None:
        _write(sigstore, to_sigstore_trusted_root(load_trust_root(data)))
    _say("it names the given log key" if _has(check) else "not compared: give --log-key")


def entry_line(entry: LogEntry) -> Line:
    """Return the line of an entry; hashes in hex, the leaf as its canonical JSON."""
    return {
        "log_index": entry.log_index,
        "kind": entry.kind.value,
        "tenant": entry.tenant,
        "tenant_sequence": entry.tenant_sequence,
        "entry_key": entry.entry_key,
        "audit_id": entry.audit_id,
        "entry_digest": entry.entry_digest,
        "leaf_hash": entry.leaf_hash.hex(),
        "leaf_base64": base64.b64encode(entry.leaf_body).decode("ascii"),
        "recorded_at": entry.recorded_at,
        "erased_at": entry.erased_at,
    }


def _check(log_key: str | None) -> LogCheck:
    if log_key is None:
        return LogCheck()
    text = log_key
    if "+" not in log_key or Path(log_key).is_file():
        text = _read(Path(log_key)).decode("utf-8", errors="replace").strip()
    try:
        return LogCheck(parse_vkey(text))
    except VerificationError as error:
        raise ConfigurationError(f"--log-key cannot be used: {error}") from error


def _has(check: LogCheck) -> bool:
    return check.key is not None


def _signed(check: LogCheck) -> str:
    return "proof and signature verify" if _has(check) else f"the proof holds; {_UNSIGNED}"


def _is_size(text: str) -> bool:
    # A longer number is none of ours, and slow to read.
    return text.isascii() and text.isdecimal() and len(text) <= 19


def _tree(client: LogClient, check: LogCheck, text: str, latest: Checkpoint) -> Checkpoint:
    """Return the tree that an argument names. Raises: InvalidRequest, VerificationError."""
    if not _is_size(text):
        return check.note(_read(Path(text)))
    size = int(text)
    if not 1 <= size <= latest.size:
        raise InvalidRequest.of("size", f"is {size}; the log has {latest.size}, give 1 to that")
    return computed_tree(client, latest.origin, size)


def _require_included(
    client: LogClient, check: LogCheck, entry: LogEntry, tree: Checkpoint
) -> None:
    check.entry(entry)
    check.inclusion(entry, client.inclusion(entry.log_index, tree.size).hashes, tree)


def _bundle(
    entry: LogEntry, tree: Checkpoint, hashes: tuple[bytes, ...], note: bytes, log_key: NoteKey
) -> bytes:
    if entry.envelope is None:
        raise EntryNotFound(
            f"the content of entry {entry.log_index} was erased: only --tlog-proof can be written"
        )
    key_id = signing_key_id(entry.envelope)
    return build_bundle(entry.envelope, key_id, entry, tree.size, tree.root, hashes, note, log_key)


def _table(found: list[LogEntry]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("index", justify="right")
    for name in ("kind", "entry", "tenant", "recorded"):
        table.add_column(name, overflow="fold")
    for entry in found:
        erased = "" if entry.erased_at is None else f" (erased {entry.erased_at})"
        table.add_row(
            str(entry.log_index),
            entry.kind.value,
            escape(entry.entry_key) + erased,
            f"{escape(entry.tenant)} {entry.tenant_sequence}",
            entry.recorded_at,
        )
    return table


def _tree_line(tree: Checkpoint) -> Line:
    return {"origin": tree.origin, "tree_size": tree.size, "root_hash": tree.root.hex()}


def _say(text: str) -> None:
    stdout().print(text, markup=False, highlight=False, soft_wrap=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
