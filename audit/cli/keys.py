"""`keys`: the verdict keys of a log, and the trust root that auditors are given."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from audit.cli import options
from audit.cli.exits import ExitCode
from audit.cli.lines import Line, print_line, stdout
from audit.cli.log_options import choose_log
from audit.errors import ConfigurationError
from audit.ledger.note_keys import format_vkey
from audit.ledger.sigstore_root import to_sigstore_trusted_root
from audit.ledger.trust_root import VerdictKey, load_trust_root
from audit.log_records import Receipt


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Show, replace and revoke verdict keys; write the trust root.", no_args_is_help=True
    )
    group.callback()(choose_log)
    group.command()(show)
    group.command("trust-root")(trust_root)
    group.command("log-key")(log_key)
    group.command()(rotate)
    group.command()(revoke)
    app.add_typer(group, name="keys")


def show(context: typer.Context, as_json: options.AsJson = False) -> None:
    """List the verdict keys that the log names, and the indexes at which each counts."""
    from audit.app import open_log

    with open_log(context.obj, may_create=False) as log:
        keys, current = log.reader.verdict_keys(), log.signer.key_id
    if as_json:
        for key in keys:
            print_line(key_line(key, current))
    elif keys:
        stdout().print(_table(keys, current))
    else:
        _tell("the log names no verdict key yet: `serve` introduces the first")
    raise typer.Exit(ExitCode.PASS)


def trust_root(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; default: stdout.")
    ] = None,
    sigstore_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write Sigstore's TrustedRoot of the same log as well."),
    ] = None,
) -> None:
    """Write what an auditor needs to check verdicts offline: log, witnesses and verdict keys."""
    from audit.app import open_log

    with open_log(context.obj, may_create=False) as log:
        content = log.reader.trust_root()
    if sigstore_out is not None:
        _write(sigstore_out, to_sigstore_trusted_root(load_trust_root(content)))
    if out is None:
        typer.echo(content.decode("ascii"), nl=False)
    else:
        _write(out, content)
    raise typer.Exit(ExitCode.PASS)


def log_key(context: typer.Context) -> None:
    """Print the log's own keys as C2SP vkeys, as witnesses and their policies name them."""
    from audit.app import open_log

    with open_log(context.obj, may_create=False) as log:
        vkeys = [format_vkey(signer.key) for signer in log.identity.signers]
    for vkey in vkeys:
        typer.echo(vkey)
    raise typer.Exit(ExitCode.PASS)


def rotate(
    context: typer.Context,
    new_key: Annotated[
        str,
        typer.Option(metavar="FILE|URI", help="The next key: a file, made if missing, or a URI."),
    ],
    new_public_key: Annotated[
        Path | None, typer.Option(metavar="PUB", help="Its public key, PEM, where it is a URI.")
    ] = None,
    new_secret: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the PIN that a URI asks for.")
    ] = None,
) -> None:
    """Introduce a new verdict key and retire the one in use; stop the service first."""
    from audit.app.log import open_verdict_signer
    from audit.app.upkeep import rotate as rotate_key

    new = open_verdict_signer(new_key, new_public_key, new_secret)
    introduced, retired = rotate_key(context.obj, new)
    _tell(f"entry {introduced.log_index} introduces the key {new.key_id}")
    _tell(f"entry {retired.log_index} retires the one before; start the service with {new_key}")
    raise typer.Exit(ExitCode.PASS)


def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `keys show` tells it.")],
    below: Annotated[
        int | None,
        typer.Option(min=0, metavar="INDEX", help="Entries from here on do not count."),
    ] = None,
    compromised_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="RFC 3339: entries must have been witnessed before."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the log.")] = None,
) -> None:
    """Revoke a verdict key that is no longer in use; it cannot be taken back."""
    from audit.app.upkeep import revoke as revoke_key

    receipt: Receipt = revoke_key(
        context.obj,
        key_id=key_id,
        below_index=below,
        compromised_at=compromised_at,
        reason=reason,
    )
    _tell(f"entry {receipt.log_index} revokes the key {key_id}; give auditors a new trust root")
    raise typer.Exit(ExitCode.PASS)


def key_line(key: VerdictKey, current: str) -> Line:
    """Return the line of a key; `below_index` is null for one that counts without end."""
    return {
        "key_id": key.key_id,
        "verifier_id": key.verifier_id,
        "from_index": key.from_index,
        "below_index": key.below_index,
        "compromised_at": key.compromised_at,
        "is_current": key.key_id == current,
    }


def _table(keys: tuple[VerdictKey, ...], current: str) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in ("key", "from entry", "below entry", "compromised", ""):
        table.add_column(name, overflow="fold")
    for key in keys:
        below = "-" if key.below_index is None else str(key.below_index)
        note = "in use" if key.key_id == current else ""
        table.add_row(key.key_id, str(key.from_index), below, key.compromised_at or "-", note)
    return table


def _tell(text: str) -> None:
    stdout().print(text, markup=False, highlight=False, soft_wrap=True)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
