"""`verify`: check a signed verdict offline, with nothing but the public key."""

from pathlib import Path
from typing import Annotated

import typer

from audit.cli import options
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line, stdout
from audit.errors import ConfigurationError, VerificationError
from audit.ledger.verify import verify_envelope


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    file: Annotated[Path, typer.Argument(help="A signed verdict (DSSE envelope, JSON).")],
    key: Annotated[
        Path, typer.Option("--key", metavar="PUB", help="The auditor's public key, PEM.")
    ],
    as_json: options.AsJson = False,
) -> None:
    """Check the signature and form of a verdict; exit 0 if it verifies, 1 if not."""
    envelope, public_key = _read(file), _read(key)
    try:
        statement = verify_envelope(envelope, public_key)
    except VerificationError as error:
        if as_json:
            print_line({"file": str(file), "verified": False, "error": str(error)})
            raise typer.Exit(ExitCode.FAIL) from error
        raise
    predicate = statement["predicate"]
    if as_json:
        print_line({"file": str(file), "verified": True, "statement": statement})
    else:
        outcome = predicate.get("verdict") if isinstance(predicate, dict) else None
        stdout().print(f"{file}: the signature verifies; the verdict is {outcome}", highlight=False)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
