"""How sweeps are told on the command line: tables for people, JSON lines for programs."""

import math
from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from audit.billing_records import Money
from audit.cli.exits import ExitCode
from audit.cli.lines import print_line, stdout
from audit.cli.sweep_as_json import conclusion_of, run_line, sweep_line
from audit.codec.wire_sweep import SweepRunView
from audit.sweep_records import (
    ChangeFinding,
    ChangeKind,
    EndpointFinding,
    EndpointRole,
    ReadingStatus,
    Sweep,
    SweepOutcome,
    SweepResult,
)

_STYLES = {
    SweepOutcome.CONSISTENT: "green",
    SweepOutcome.INCONSISTENT: "bold red",
    SweepOutcome.POLICY_DIFFERENT: "red",
    SweepOutcome.MISCONFIGURED: "red",
    SweepOutcome.CHANGED: "red",
    SweepOutcome.UNINFORMATIVE: "yellow",
    SweepOutcome.NOT_APPLICABLE: "yellow",
    SweepOutcome.VOID: "yellow",
    SweepOutcome.NOT_PERFORMED: "yellow",
}

_ROLES = {
    EndpointRole.TARGET: "target",
    EndpointRole.NEGATIVE_CONTROL: "honest control",
    EndpointRole.POSITIVE_CONTROL: "known copy",
}

#: What a buyer has to do something about.
_FOUND = frozenset(
    {
        SweepOutcome.INCONSISTENT,
        SweepOutcome.POLICY_DIFFERENT,
        SweepOutcome.MISCONFIGURED,
        SweepOutcome.CHANGED,
    }
)


def exit_code(outcomes: Iterable[SweepOutcome]) -> ExitCode:
    """Return 1 where something was found, else 2 where something could not be told, else 0."""
    seen = set(outcomes)
    if seen & _FOUND:
        return ExitCode.FAIL
    return ExitCode.INCONCLUSIVE if seen - {SweepOutcome.CONSISTENT} else ExitCode.PASS


def print_sweeps(sweeps: Sequence[Sweep], *, as_json: bool) -> None:
    """Tell which sweeps there are."""
    if as_json:
        for sweep in sweeps:
            print_line(sweep_line(sweep))
        return
    if not sweeps:
        tell("no sweeps yet: `sweep create` one first")
        return
    table = _table("sweep", "name", "claimed model", "endpoints", "schedule", "state")
    for sweep in sweeps:
        spec = sweep.spec
        schedule = spec.schedule
        table.add_row(
            _shown(sweep.sweep_id),
            _shown(spec.name),
            _shown(spec.claim.model or "-"),
            _shown(", ".join(endpoint.name for endpoint in spec.endpoints)),
            "-" if schedule is None else _shown(f"{schedule.cron} ({schedule.timezone})"),
            sweep.state.value,
        )
    stdout().print(table)


def print_runs(views: Sequence[SweepRunView], *, as_json: bool) -> None:
    """Tell how a sweep's runs stand, without their findings."""
    if as_json:
        for view in views:
            print_line(run_line(view))
        return
    if not views:
        tell("no runs yet: wait for the schedule, or ask for one with `sweep run`")
        return
    table = _table("run", "slot", "asked for by", "state", "outcome", "log entry", "statement")
    for view in views:
        outcome, statement = conclusion_of(view)
        table.add_row(
            _shown(view.slot.run_id),
            _shown(_time(view.slot.slot_at)),
            "hand" if view.slot.is_manual else "schedule",
            view.slot.state.value,
            "-" if outcome is None else _styled(outcome),
            "-" if view.log_index is None else str(view.log_index),
            _shown(statement or ""),
        )
    stdout().print(table)


def print_run(view: SweepRunView, *, as_json: bool) -> None:
    """Tell how one run stands and what it concludes about each endpoint."""
    if as_json:
        print_line(run_line(view))
        return
    slot = view.slot
    where = "not signed" if view.log_index is None else f"entry {view.log_index} of the log"
    tell(f"run {slot.run_id} of {_time(slot.slot_at)}: {slot.state.value}, {where}")
    if view.result is not None:
        print_result(view.result)


def print_result(result: SweepResult) -> None:
    """Tell what a run concludes: a table of endpoints, then what stands behind it."""
    tell(f"{result.outcome.value}: {result.statement}")
    if not result.findings:
        return
    table = _table("endpoint", "role", "outcome", "log10 e", "needed", "share", "could see")
    for name in ("requests", "tokens", "cost"):
        table.add_column(name, justify="right")
    for finding in result.findings:
        _add_row(table, finding)
    stdout().print(table)
    for finding in result.findings:
        _tell_finding(finding)


def print_changes(endpoint: str, changes: Sequence[ChangeFinding]) -> None:
    """Tell how an endpoint moved over time; nothing where it did not."""
    for change in changes:
        if change.kind is ChangeKind.NONE:
            continue
        since = "" if change.since_run is None else f" since run {change.since_run}"
        if change.since_low is not None and change.since_high is not None:
            since += f" ({change.since_low} to {change.since_high})"
        tell(
            f"{endpoint}: {change.kind.value}{since} under {change.detector}, "
            f"log10 e {_log10(change.log_e_nats)} of {_log10(change.threshold_nats)} needed, "
            f"epoch {change.epoch}: {change.statement}"
        )


def tell(text: str) -> None:
    """Print one line for people, as it is; what would move the cursor is replaced."""
    stdout().print(_printable(text), markup=False, highlight=False, soft_wrap=True)


def _add_row(table: Table, finding: EndpointFinding) -> None:
    spending = finding.spending
    table.add_row(
        _shown(finding.endpoint),
        _ROLES[finding.role],
        _styled(finding.outcome),
        _log10(finding.log_e_nats),
        _log10(finding.threshold_nats),
        f"{finding.share_low:.2f} to {finding.share_high:.2f}",
        _smallest_share(finding),
        f"{spending.num_requests:,}",
        f"{spending.prompt_tokens + spending.output_tokens:,}",
        _money(spending.cost),
    )


def _tell_finding(finding: EndpointFinding) -> None:
    name = finding.endpoint
    after = "" if finding.decided_after is None else f" after {finding.decided_after} requests"
    tell(f"{name}: {finding.outcome.value}{after}: {finding.statement}")
    if finding.is_discovery:
        tell("  it is among those that stand out over all endpoints of the run together")
    if finding.explanation is not None:
        tell(f"  likeliest: {finding.explanation}")
    for reading in finding.readings:
        for cause in reading.misconfigurations:
            weight = "explains the rest" if cause.is_decisive else "does not explain the rest"
            tell(f"  {reading.detector}, {cause.check} ({weight}): {cause.detail}")
        if reading.status is not ReadingStatus.READ:
            tell(f"  {reading.detector}: {reading.status.value}: {reading.reason}")
        elif reading.visible is not None and reading.visible.statement:
            tell(f"  {reading.detector}: {reading.visible.statement}")
    print_changes(f"  {name}", finding.changes)


def _smallest_share(finding: EndpointFinding) -> str:
    shares = [
        reading.visible.smallest_share
        for reading in finding.readings
        if reading.visible is not None and reading.visible.smallest_share is not None
    ]
    return f"from {min(shares):.1%}" if shares else "nothing"


def _time(text: str) -> str:
    # slots are whole minutes; fractions of a second are shown where there are any
    return text.replace("T", " ").replace(".000000Z", "Z")


def _log10(nats: float) -> str:
    return f"{nats / math.log(10):.2f}"


def _money(money: Money | None) -> str:
    return "?" if money is None else f"{money.amount} {money.currency}"


def _styled(outcome: SweepOutcome) -> str:
    return f"[{_STYLES[outcome]}]{outcome.value}[/]"


def _table(*columns: str) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _shown(text: str) -> str:
    return escape(_printable(text))


def _printable(text: str) -> str:
    # endpoints choose some of these texts, and a terminal obeys escape codes
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
