"""`providers`: what the service has found about each provider over all its exchanges."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from audit.cli import options
from audit.cli.exits import ExitCode
from audit.cli.lines import STYLES, Line, print_line, stdout
from audit.client.client import AuditClient
from audit.codec.wire_provider import ProviderView
from audit.config import DEFAULT_LISTEN
from audit.findings import NoiseEstimate
from audit.judge.combine import e_bh
from audit.records import Outcome

#: Share of honest providers that may be among those flagged together.
DEFAULT_FDR = 0.05


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(providers)


def providers(
    address: options.Address = DEFAULT_LISTEN,
    fdr: Annotated[
        float,
        typer.Option(
            min=1e-6,
            max=0.5,
            help="Of the providers flagged together, so large a share may be honest.",
        ),
    ] = DEFAULT_FDR,
    as_json: options.AsJson = False,
) -> None:
    """List the evidence about each provider, most recently updated first.

    Looking at many providers at once flags some by chance; those under "flagged" are chosen by
    e-BH, which bounds the share of honest ones among them.
    """
    with AuditClient(address) as client:
        found = list(client.list_providers())
    if as_json:
        flagged = _flagged(found, fdr)
        for provider in found:
            is_flagged = provider.finding.stream_id in flagged
            print_line(provider_line(provider) | {"is_flagged": is_flagged, "fdr": fdr})
    elif found:
        stdout().print(provider_table(found, fdr))
    else:
        stdout().print("no evidence about any provider yet: `submit` traffic first")
    raise typer.Exit(ExitCode.PASS)


def provider_table(found: Sequence[ProviderView], fdr: float = DEFAULT_FDR) -> Table:
    """Return the table of what was found about each provider."""
    table, flagged = _table(), _flagged(found, fdr)
    for provider in found:
        _add_row(table, provider, is_flagged=provider.finding.stream_id in flagged)
    return table


def _flagged(found: Sequence[ProviderView], fdr: float) -> frozenset[str]:
    log_e = {p.finding.stream_id: p.finding.log10_e_value * math.log(10) for p in found}
    return e_bh(log_e, fdr)


def provider_line(provider: ProviderView) -> Line:
    """Return the line of one provider, with all that the service tells of it."""
    return {**asdict(provider.key), **asdict(provider.finding), "version": provider.version}


def _table() -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in ("provider", "endpoint", "model"):
        table.add_column(name, overflow="fold")
    for name in ("exchanges", "tokens", "log10 e"):
        table.add_column(name, justify="right")
    table.add_column("outcome")
    table.add_column("flagged")
    for name in ("substituted", "sticky", "noise in logits"):
        table.add_column(name, justify="right")
    return table


def _add_row(table: Table, provider: ProviderView, *, is_flagged: bool) -> None:
    key, finding = provider.key, provider.finding
    table.add_row(
        escape(key.provider or "-"),
        escape(key.endpoint or "-"),
        escape(key.model or "-"),
        str(finding.num_exchanges),
        str(finding.num_tokens),
        f"{finding.log10_e_value:.2f}",
        _outcome_text(finding.outcome),
        "yes" if is_flagged else "no",
        f">= {finding.substituted_share_low:.1%}",
        f"{finding.sticky_log10_e_value:.2f}",
        _noise_text(finding.noise),
    )


def _outcome_text(outcome: str) -> str:
    style = STYLES.get(Outcome(outcome)) if outcome in list(Outcome) else None
    return escape(outcome) if style is None else f"[{style}]{outcome}[/]"


def _noise_text(noise: NoiseEstimate | None) -> str:
    if noise is None:
        return "-"
    high = "?" if noise.high_logits is None else f"{noise.high_logits:.3g}"
    return f"{noise.estimate_logits:.3g} ({noise.low_logits:.3g} to {high})"
