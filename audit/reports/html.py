"""The report as one HTML page for people: no script, no request, its style and drawings within.

Everything from outside passes through two nets: `finalize` makes hidden characters visible in every
value that a template puts out, and autoescape turns it into text. The content security policy lets
nothing run and nothing load; the one style sheet is admitted by its digest.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from audit.errors import VerificationError
from audit.reports import charts, heat_map, wording
from audit.reports.answer import answer
from audit.reports.controls import SECTIONS, frameworks_of
from audit.reports.groups import tally
from audit.reports.named_entries import named_entries, wanted_verdicts
from audit.reports.records import ChosenExchange, Lines, Report

MEDIA_TYPE = "text/html; charset=utf-8"

#: Rows shown of each list; the rest is told by number, and is in the evidence pack.
MAX_ROWS = 50
MAX_CHARTS = 12
MAX_EXCHANGES = 12
MAX_POINT_ROWS = 100
_NUM_FURTHEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A chosen exchange, drawn; `problem` says why where it cannot be."""

    exchange: ChosenExchange
    drawing: Markup | None
    columns: heat_map.TokenColumns | None
    furthest: tuple[tuple[int, str, str], ...]
    problem: str | None


def render(report: Report, lines: Lines, out: BinaryIO) -> None:
    """Write the page as UTF-8; the same report and lines give the same bytes."""
    out.write(render_page(report, lines).encode("utf-8"))


def render_page(report: Report, lines: Lines) -> str:
    """Return the page."""
    counts = tally(lines(), wanted_verdicts(report))
    environment = _environment()
    style = _style()
    shown = report.exchanges[:MAX_EXCHANGES]
    attacks = report.limits.attacks[:MAX_ROWS]
    named = named_entries(report, counts, most=MAX_ROWS)
    return environment.get_template(
        "report.html.jinja"
    ).render(
        report=report,
        tally=counts,
        answer=answer(report, counts),
        named=named,
        sections=SECTIONS,
        frameworks=frameworks_of(report.control_mapping),
        style=Markup(style),  # noqa: S704  a file of this package
        policy=content_security_policy(style),
        max_rows=MAX_ROWS,
        max_point_rows=MAX_POINT_ROWS,
        evidence_charts=[
            (standing, charts.evidence_chart(standing, f"evidence-{number}"))
            for number, standing in enumerate(report.standings.items[:MAX_CHARTS])
        ],
        bar=charts.verdict_bar(
            report.totals.num_passed, report.totals.num_inconclusive, report.totals.num_failed
        ),
        days=charts.day_chart(report.by_day.lines) if report.by_day.lines else None,
        noise_chart=_noise_chart(report),
        attacks=attacks,
        power_chart=charts.power_chart(attacks) if attacks else None,
        tokens=[_token_view(e, f"tokens-{i}") for i, e in enumerate(shown)],
        legend=_legend(),
        max_tokens=heat_map.MAX_TOKENS_SHOWN,
    )


def content_security_policy(style: str) -> str:
    """Return the policy under which nothing loads but the page's own style sheet."""
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("audit.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "count": wording.count,
        "figure": wording.figure,
        "share": wording.share,
        "moment": wording.moment,
        "name": wording.name,
        "short": wording.short_digest,
        "lines_shown": _block,
    }
    environment.filters.update(filters)
    return environment


def _finalized(value: object) -> object:
    return (
        wording.shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value
    )


def _block(text: str) -> Markup:
    # line breaks are kept, so the value must not pass through `finalize` again
    return Markup("{}").format(wording.lines_shown(text))


@cache
def _style() -> str:
    environment = _environment()
    loader = environment.loader
    if loader is None:
        raise AssertionError("the environment is made with a loader")
    # taken as it is, never rendered: its digest stands in the policy
    return loader.get_source(environment, "style.css.jinja")[0]


def _noise_chart(report: Report) -> Markup | None:
    rows = [
        charts.Whisker(
            label=f"{wording.name(standing.provider_name)}, {wording.name(standing.model)}",
            estimate=standing.noise_logits,
            low=standing.noise_low_logits,
            high=standing.noise_high_logits,
        )
        for standing in report.standings.items[:MAX_CHARTS]
        if standing.noise_logits is not None and standing.noise_low_logits is not None
    ]
    if not rows:
        return None
    return charts.whisker_chart(
        rows,
        unit="logits",
        title="Noise of each provider against the reference, with its confidence interval",
        chart_id="noise-chart",
    )


def _token_view(exchange: ChosenExchange, chart_id: str) -> TokenView:
    problem = exchange.problem
    if exchange.tokens is not None and problem is None:
        try:
            columns = heat_map.parse_tokens(exchange.tokens)
        except VerificationError as error:
            problem = str(error)
        else:
            return TokenView(
                exchange=exchange,
                drawing=heat_map.heat_map(columns, chart_id),
                columns=columns,
                furthest=heat_map.furthest(columns, _NUM_FURTHEST),
                problem=None,
            )
    return TokenView(
        exchange=exchange,
        drawing=None,
        columns=None,
        furthest=(),
        problem=problem or "no evidence per token was kept for it",
    )


def _legend() -> list[tuple[Markup, str]]:
    same = [
        (heat_map.SAME_COLOUR, "the token that the reference draws"),
        (
            heat_map.NEAR_COLOUR,
            f"the same, but a close call (under {heat_map.CLOSE_CALL_LOGITS:g} logits)",
        ),
    ]
    legend = [
        (heat_map.swatch(colour, f"swatch-same-{i}", has_mark=False), told)
        for i, (colour, told) in enumerate(same)
    ]
    return legend + [
        (heat_map.swatch(colour, f"swatch-{i}", has_mark=True), told)
        for i, (_, colour, told) in enumerate(heat_map.BANDS)
    ]
