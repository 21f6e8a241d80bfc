"""`verify`: check a signed verdict offline, alone or with its place in the log."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.cli import options
from audit.cli.exits import ExitCode
from audit.cli.lines import Line, print_line, stdout
from audit.errors import ConfigurationError, VerificationError
from audit.ledger.envelope import signed_parts
from audit.ledger.verify import VerifiedVerdict, verify_bundle, verify_envelope


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    file: Annotated[
        Path, typer.Argument(help="A bundle (Sigstore v0.3), or an envelope (DSSE); JSON.")
    ],
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="PUB", help="The auditor's public key, PEM: an envelope."),
    ] = None,
    trust_root: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Log, witnesses and keys that you rely on: a bundle."),
    ] = None,
    pae: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the bytes that were signed.")
    ] = None,
    sig: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write the signature, DER.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check a verdict offline; exit 0 if it verifies, 1 if not.

    With --trust-root: that the log has it, that witnesses saw the log, and that the key counted.
    With --key: signature and form only.

    The signature can be checked without us: write both files with --pae and --sig, then run
    `openssl dgst -sha256 -verify PUB -signature SIG PAE`.
    """
    content = _read(file)
    if pae is not None or sig is not None:
        _write_parts(content, pae, sig)
    if (key is None) == (trust_root is None):
        raise ConfigurationError(
            "name either --trust-root, to check a bundle, or --key, to check an envelope alone"
        )
    try:
        if trust_root is not None:
            _show_bundle(file, verify_bundle(content, _read(trust_root)), as_json=as_json)
        elif key is not None:
            _show_envelope(file, verify_envelope(content, _read(key)), as_json=as_json)
    except VerificationError as error:
        if as_json:
            print_line({"file": str(file), "verified": False, "error": str(error)})
            raise typer.Exit(ExitCode.FAIL) from error
        raise


def bundle_line(file: Path, found: VerifiedVerdict) -> Line:
    """Return the line of a bundle that verified; times are RFC 3339."""
    return {
        "file": str(file),
        "verified": True,
        "statement": found.statement,
        "log_index": found.log_index,
        "tree_size": found.tree_size,
        "key_id": found.key_id,
        "witnesses": [{"name": name, "cosigned_at": _time(at)} for name, at in found.witnesses],
        "steps": list(found.steps),
    }


def _show_bundle(file: Path, found: VerifiedVerdict, *, as_json: bool) -> None:
    if as_json:
        print_line(bundle_line(file, found))
        return
    for number, step in enumerate(found.steps, start=1):
        _tell(f"{number:2}. {step}")
    _tell(f"{file}: verified; {_said(found.statement)}")
    _tell(f"entry {found.log_index} of {found.tree_size} in the log; key {found.key_id}")
    for name, at in found.witnesses:
        _tell(f"witness {name} cosigned at {_time(at)}")
    if not found.witnesses:
        _tell(
            "no witness cosigned: the trust root's policy asks for none, so a split log is hidden"
        )


def _show_envelope(file: Path, statement: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        line = {"file": str(file), "verified": True, "statement": statement}
        print_line(line | {"log_checked": False})
        return
    _tell(f"{file}: the signature verifies; {_said(statement)}")
    _tell("inclusion in the log was NOT checked: that takes a bundle and --trust-root")


def _said(statement: dict[str, Any]) -> str:
    verdict = statement["predicate"].get("verdict")
    kind = statement["predicateType"].rsplit("/", 2)[1]
    return f"it is an entry of the kind {kind}" if verdict is None else f"the verdict is {verdict}"


def _time(unix_s: int) -> str:
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{unix_s} s after 1970"


def _write_parts(content: bytes, pae: Path | None, sig: Path | None) -> None:
    for path, part in zip((pae, sig), signed_parts(content), strict=True):
        if path is not None:
            try:
                path.write_bytes(part)
            except OSError as error:
                raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def _tell(text: str) -> None:
    stdout().print(text, markup=False, highlight=False, soft_wrap=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
