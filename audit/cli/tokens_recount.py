"""`tokens recount`: the exact count of hidden tokens, for open weights and recorded seeds."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from audit.billing_records import MeterOutcome
from audit.cli import options
from audit.cli.common import MAX_TABLE_ROWS, progress, require_files, require_profile
from audit.cli.exits import ExitCode
from audit.cli.lines import Line, print_line, stderr, stdout
from audit.cli.token_files import Requests, read_requests
from audit.codec.traffic import read_traffic
from audit.config import DEFAULT_NUM_THREADS, ReplaySettings, parse_model
from audit.hidden_tokens.recount_bill import RecountedBill, count_text

if TYPE_CHECKING:
    # importing it loads what most commands do without
    from audit.app.recount import Joined

_STYLES = {
    MeterOutcome.AGREES: "green",
    MeterOutcome.DISAGREES: "red",
    MeterOutcome.INCONCLUSIVE: "yellow",
}


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("recount")(recount)


def recount(
    requests: Requests,
    traffic: options.Traffic,
    model: options.Model,
    tolerance_logits: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="What rounding moves a logit by; needed unless traffic says it is float32.",
        ),
    ] = None,
    end_mark: Annotated[
        list[int] | None,
        typer.Option(
            "--end-mark", metavar="ID", min=0, help="Id of a token that ends the hidden part."
        ),
    ] = None,
    profile: options.Profile = None,
    dtype: options.Precision = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    as_json: options.AsJson = False,
) -> None:
    """Count billed hidden tokens again on a local checkpoint.

    Each billed request needs the recorded exchange of its request_id, with seed and token ids; the
    recorded output is the visible answer. Exit code 0: every bill is the reference's count, 1: one
    cannot be, 2: one cannot be told and none is impossible.
    """
    from audit.app.recount import build_recounter, join

    require_profile(profile)
    require_files(traffic)
    joined = join(read_requests(requests), read_traffic(traffic))
    _tell(joined)
    settings = ReplaySettings(
        models=(parse_model(str(model)),), profile=profile, precision=dtype, num_threads=threads
    )
    recounter = build_recounter(
        settings, tolerance_logits=tolerance_logits, end_mark_ids=end_mark or ()
    )
    bills: list[RecountedBill] = []
    with progress() as bar:
        task = bar.add_task("recounting", total=len(joined.pairs))
        for request, recorded in joined.pairs:
            bills.append(recounter(request, recorded))
            if as_json:
                print_line(bill_line(bills[-1]))
            bar.update(task, advance=1)
    if not as_json:
        _show(bills)
    raise typer.Exit(_exit_code({bill.outcome for bill in bills}))


def bill_line(bill: RecountedBill) -> Line:
    """Return the line of one bill."""
    checked = bill.checked
    return {
        "request_id": bill.request.request_id,
        "outcome": bill.outcome.value,
        "statement": bill.statement,
        "billed_tokens": bill.request.usage.reasoning_tokens,
        "recount": None if checked.recount is None else asdict(checked.recount),
        "violation": None if checked.violation is None else asdict(checked.violation),
        "unchecked": None if checked.unchecked is None else asdict(checked.unchecked),
    }


def _exit_code(outcomes: set[MeterOutcome]) -> ExitCode:
    if MeterOutcome.DISAGREES in outcomes:
        return ExitCode.FAIL
    return ExitCode.INCONCLUSIVE if MeterOutcome.INCONCLUSIVE in outcomes else ExitCode.PASS


def _tell(joined: "Joined") -> None:
    if joined.num_not_billed:
        _note(f"{joined.num_not_billed} recorded exchanges are not billed here")
    for text in joined.unreadable:
        _note(text)


def _note(text: str) -> None:
    stderr().print(text, markup=False, highlight=False, soft_wrap=True)


def _show(bills: list[RecountedBill]) -> None:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("request", overflow="fold")
    table.add_column("billed", justify="right")
    table.add_column("counted", justify="right")
    for name in ("method", "meter", "why"):
        table.add_column(name, overflow="fold")
    for bill in bills[:MAX_TABLE_ROWS]:
        found, billed = bill.checked.recount, bill.request.usage.reasoning_tokens
        table.add_row(
            escape(bill.request.request_id),
            "-" if billed is None else str(billed),
            "-" if found is None else count_text(found),
            "-" if found is None else found.method.value,
            f"[{_STYLES[bill.outcome]}]{bill.outcome.value}[/]",
            escape(bill.statement),
        )
    stdout().print(table)
    outcomes = [bill.outcome for bill in bills]
    counts = ", ".join(f"{outcomes.count(one)} {one.value}" for one in MeterOutcome)
    more = f" (the first {MAX_TABLE_ROWS} are listed; --json lists all)"
    tail = more if len(bills) > MAX_TABLE_ROWS else ""
    stdout().print(f"{len(bills)} bills: {counts}{tail}", markup=False, highlight=False)
