"""`tokens`: billed reasoning tokens against every evidence there is."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from audit.billing_records import BilledRequest, StoredAccount
from audit.cli import options, token_lines, tokens_commitment, tokens_palace, tokens_recount
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line, stderr, stdout
from audit.cli.token_files import Requests, read_requests
from audit.client.billing_client import BillingClient
from audit.config import DEFAULT_LISTEN, BillingSettings
from audit.errors import AuditError, CalibrationError, ConfigurationError, InvalidRequest
from audit.hidden_tokens.account.fold import fold
from audit.hidden_tokens.calibration_file import DEFAULT_SALT
from audit.hidden_tokens.estimator.core import EstimatorCore
from audit.hidden_tokens.invoice import Invoice, check_invoice, parse_invoice

Calibration = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="FILE", help="Made by `tokens calibrate`."),
]
Rules = Annotated[
    Path | None,
    typer.Option("--rules", metavar="FILE", help="Billing rules; default: the bundled ones."),
]
Prices = Annotated[
    Path | None, typer.Option("--prices", metavar="FILE", help="A price table, TOML.")
]
Vocabularies = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder with public rank files, to recount visible text."),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")]

#: Whose accounts they are where no service says so.
_TENANT = "local"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Check billed reasoning tokens.")
    group.command("check")(check)
    group.command("train")(train)
    group.command("calibrate")(calibrate)
    group.command("submit")(submit)
    group.command("account")(account)
    tokens_commitment.register(group)
    tokens_palace.register(group)
    tokens_recount.register(group)
    app.add_typer(group, name="tokens")


def check(
    requests: Requests,
    calibration: Calibration = None,
    rules: Rules = None,
    prices: Prices = None,
    vocabularies: Vocabularies = None,
    palace: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Made by `tokens palace-train`, and calibrated."),
    ] = None,
    palace_model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint that it was trained on.")
    ] = None,
    invoice: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An invoice, JSON, to hold against the requests."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check billed requests without a service; nothing is stored or signed.

    Exit code 0: every meter agrees, 1: one disagrees, 2: one is inconclusive and none disagrees.
    """
    from audit.app.billing import build_billing

    settings = BillingSettings(
        calibration=calibration,
        rules=rules,
        prices=prices,
        vocabularies=vocabularies,
        palace=palace,
        palace_model=palace_model,
    )
    tools, seen = build_billing(settings), list[BilledRequest]()
    accounts: dict[object, StoredAccount] = {}
    ids: set[tuple[str, str, str]] = set()
    for request in read_requests(requests):
        identity = (request.provider, request.account, request.request_id)
        if identity in ids:
            raise InvalidRequest.of("request_id", f"{request.request_id} stands twice")
        ids.add(identity)
        seen.append(request)
        checked, key = tools.checker.check(request), tools.checker.key_of(_TENANT, request)
        price = tools.price_of(request.model, request.observed_at)
        accounts[key] = fold(accounts.get(key), key, [checked], tools.rules, price)
        if as_json:
            print_line(token_lines.check_line(checked))
    violations = () if invoice is None else check_invoice(seen, _invoice(invoice), tools.prices)[0]
    token_lines.print_accounts(list(accounts.values()), violations, as_json=as_json)
    raise typer.Exit(token_lines.exit_code(accounts.values(), violations))


def train(
    requests: Requests,
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="Of the learner's draws.")] = 0,
) -> None:
    """Train the estimator on honest requests with domain, prompt and answer.

    Use trusted runs or direct first-party calls, never what the accused supplies. Keep other
    questions back for `tokens calibrate`.
    """
    from audit.hidden_tokens.estimator.training import train_estimator
    from audit.hidden_tokens.fitting import estimator_rows

    rows = estimator_rows(read_requests(requests))
    core = train_estimator(rows, seed)
    _write(out, json.dumps(core.to_json(), separators=(",", ":"), sort_keys=True).encode("ascii"))
    stdout().print(f"trained on {len(rows)} requests: {out}", highlight=False, markup=False)


def calibrate(
    requests: Requests,
    out: Out,
    core: Annotated[
        Path | None,
        typer.Option("--core", metavar="FILE", help="Made by `tokens train`, on other questions."),
    ] = None,
    salt: Annotated[
        str, typer.Option(help="Splits questions, and places ties; choose it once.")
    ] = DEFAULT_SALT,
) -> None:
    """Calibrate every channel on honest requests; what cannot be is said on stderr."""
    from audit.hidden_tokens.calibration_file import dump_billing_calibration
    from audit.hidden_tokens.fitting import calibrate_billing

    trained = None if core is None else _core(core)
    sources = {path.name: f"sha256:{hashlib.sha256(_bytes(path)).hexdigest()}" for path in requests}
    made, notes = calibrate_billing(
        list(read_requests(requests)), core=trained, salt=salt, sources=sources
    )
    content = dump_billing_calibration(made)
    _write(out, content)
    for note in notes:
        stderr().print(note, markup=False, highlight=False)
    digest = hashlib.sha256(content).hexdigest()
    stdout().print(f"{out}: sha256:{digest}", highlight=False, markup=False, soft_wrap=True)


def submit(
    requests: Requests,
    address: options.Address = DEFAULT_LISTEN,
    as_json: options.AsJson = False,
) -> None:
    """Hand billed requests to the service; each counts once, however often it is sent.

    Exit code 1 where something about a bill cannot be, else 0.
    """
    num_taken = num_wrong = 0
    with BillingClient(address) as client:
        for ack in client.submit(read_requests(requests)):
            num_taken, num_wrong = num_taken + 1, num_wrong + bool(ack.violations)
            if as_json:
                print_line(asdict(ack))
            for violation in () if as_json else ack.violations:
                text = f"{ack.request_id}: {violation.identity}: {violation.statement}"
                stdout().print(text, highlight=False, markup=False, soft_wrap=True)
    if not as_json:
        stdout().print(f"{num_taken} requests taken, {num_wrong} of them with a violation")
    raise typer.Exit(ExitCode.FAIL if num_wrong else ExitCode.PASS)


def account(
    finding: Annotated[
        str | None, typer.Argument(metavar="[FINDING]", help="Id of one finding; else all.")
    ] = None,
    address: options.Address = DEFAULT_LISTEN,
    watch: Annotated[
        bool, typer.Option("--watch", help="Tell each change, until stopped.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what the service has found about accounts; one finding comes signed.

    Exit code 0: every meter shown agrees, 1: one disagrees, 2: one is inconclusive.
    """
    if watch and finding is None:
        raise ConfigurationError("name the finding to watch: `tokens account` lists their ids")
    with BillingClient(address) as client:
        if finding is not None and watch:
            for view in client.watch(finding):
                token_lines.print_views([view], as_json=as_json)
            return
        views = list(client.list()) if finding is None else [client.get(finding)]
    token_lines.print_views(views, as_json=as_json)
    raise typer.Exit(token_lines.exit_code(views))


def _invoice(path: Path) -> Invoice:
    try:
        return parse_invoice(json.loads(_bytes(path)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, AuditError):
            raise
        raise InvalidRequest.of(str(path), f"is no JSON ({error})") from error


def _core(path: Path) -> EstimatorCore:
    try:
        return EstimatorCore.from_json(json.loads(_bytes(path)), str(path))
    except (ValueError, RecursionError) as error:
        raise CalibrationError(
            f"{path} holds no trained estimator ({error}): make one with `tokens train`"
        ) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
