"""How billing audits are told on the command line: tables for people, JSON lines for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from audit.billing_records import (
    AccountKey,
    BillingFinding,
    MeterOutcome,
    Money,
    RequestCheck,
    StoredAccount,
    Violation,
)
from audit.cli.exits import ExitCode
from audit.cli.lines import Line, print_line, stdout
from audit.codec.wire_billing_finding import BillingView

_STYLES = {
    MeterOutcome.AGREES: "green",
    MeterOutcome.DISAGREES: "red",
    MeterOutcome.INCONCLUSIVE: "yellow",
}

_UNSIGNED = "not signed as it stands; ask for it by id to have it signed"

Told = StoredAccount | BillingView


def check_line(checked: RequestCheck) -> Line:
    """Return the line of one request: its evidence, never its texts."""
    request = checked.request
    return {
        "request_id": request.request_id,
        "account": request.account,
        "provider": request.provider,
        "model": request.model,
        "domain": checked.domain,
        "billed_tokens": request.usage.output_tokens,
        "reasoning_tokens": request.usage.reasoning_tokens,
        "violations": [asdict(violation) for violation in checked.violations],
        "checked": list(checked.checked),
        "readings": [asdict(reading) for reading in checked.readings],
        "unchecked": [asdict(one) for one in checked.unchecked],
    }


def account_line(told: Told) -> Line:
    """Return the line of one account, without its inner state."""
    line: Line = {"key": asdict(told.key), "version": told.version, **asdict(told.finding)}
    if isinstance(told, BillingView):
        line["log_index"] = told.log_index
        line["signed_version"] = told.signed_version
        line["envelope"] = None if told.envelope is None else told.envelope.decode("utf-8")
    return line


def print_accounts(
    accounts: Sequence[StoredAccount], invoice: Sequence[Violation], *, as_json: bool
) -> None:
    """Tell what is found about each account, and where an invoice differs."""
    if as_json:
        for account in accounts:
            print_line(account_line(account))
        for violation in invoice:
            print_line({"invoice": asdict(violation)})
        return
    _print_table(accounts)
    for violation in invoice:
        _print(f"invoice: {violation.statement}")


def print_views(views: Sequence[BillingView], *, as_json: bool) -> None:
    """Tell what the service says about accounts."""
    if as_json:
        for view in views:
            print_line(account_line(view))
    elif views:
        _print_table(views)
        for view in views:
            where = _UNSIGNED if view.log_index is None else f"entry {view.log_index}"
            _print(f"{view.finding.finding_id}: {where}")
    else:
        _print("no billed requests yet: `tokens submit` some first")


def exit_code(told: Iterable[Told], invoice: Sequence[Violation] = ()) -> ExitCode:
    """Return 1 where a meter or an invoice disagrees, else 2 for any INCONCLUSIVE, else 0."""
    outcomes = {one.finding.outcome for one in told}
    if invoice or MeterOutcome.DISAGREES in outcomes:
        return ExitCode.FAIL
    return ExitCode.INCONCLUSIVE if MeterOutcome.INCONCLUSIVE in outcomes else ExitCode.PASS


def _print_table(accounts: Sequence[Told]) -> None:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in ("provider", "account", "model | domain | effort"):
        table.add_column(name, overflow="fold")
    table.add_column("requests", justify="right")
    table.add_column("meter")
    for name in ("log10 e over", "under"):
        table.add_column(name, justify="right")
    table.add_column("overcharge", overflow="fold")
    for account in accounts:
        _add_row(table, account.key, account.finding)
    stdout().print(table)
    for account in accounts:
        _print(f"{account.key.model}: {account.finding.statement}")
        for violation in account.finding.violations:
            _print(f"  {violation.identity}: {violation.statement}")


def _add_row(table: Table, key: AccountKey, finding: BillingFinding) -> None:
    style = _STYLES[finding.outcome]
    table.add_row(
        escape(key.provider),
        escape(key.account),
        escape(f"{key.model} | {key.domain} | {key.effort}"),
        str(finding.num_requests),
        f"[{style}]{finding.outcome.value}[/]",
        f"{finding.log10_e_over:.2f}",
        f"{finding.log10_e_under:.2f}",
        _overcharge(finding),
    )


def _overcharge(finding: BillingFinding) -> str:
    low, high = finding.overcharge_tokens_low, finding.overcharge_tokens_high
    if low is None and high is None:
        return "not told"
    tokens = f"{_number(low)} to {_number(high)} tokens"
    cheapest, dearest = finding.overcharge_money_low, finding.overcharge_money_high
    if cheapest is None and dearest is None:
        return tokens
    return f"{tokens}, {_money(cheapest)} to {_money(dearest)}"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"


def _money(money: Money | None) -> str:
    return "?" if money is None else f"{money.amount} {money.currency}"


def _print(text: str) -> None:
    stdout().print(text, highlight=False, markup=False, soft_wrap=True)
