"""A sweep as one HTML page for people: no script, no request, its style and drawings within.

results --rows, cards--> views --matplotlib--> drawings --templates--> page and plot files
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from audit.errors import ConfigurationError, InvalidRequest
from audit.sweep_records import ReadingStatus, SweepOutcome, SweepResult
from audit.sweeps.pages import told, views
from audit.sweeps.pages.advice import ADVICE
from audit.sweeps.pages.limits import limits_of
from audit.sweeps.pages.rows import MAX_RUNS_DRAWN, rows_of
from audit.sweeps.pages.strip import MAX_STRIPS, strip_of
from audit.sweeps.pages.templating import content_security_policy, environment, style_sheet
from audit.sweeps.plan_file import StoredPlan
from audit.sweeps.policy import SweepPolicy

PAGE_NAME = "sweep.html"
PLOTS_FOLDER = "plots"

#: Rows shown of lists that grow with every run; the rest is told by number.
MAX_ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPage:
    """The page, and its drawings as files of their own."""

    html: str
    plots: Mapping[str, bytes]
    """SVG documents by file name, such as `evidence-1.svg`."""


def render_sweep(
    results: Sequence[SweepResult],
    policy: SweepPolicy,
    *,
    title: str,
    plans: Mapping[str, StoredPlan] | None = None,
) -> SweepPage:
    """Return the page of a sweep's runs; the same arguments give the same bytes.

    `results` come in any order and are shown by slot; `plans` are the runs' plans by run id, which
    say what was asked and in which order. Raises: InvalidRequest for a run that comes twice;
    ConfigurationError where matplotlib is missing.
    """
    runs = sorted(results, key=lambda r: (r.slot_at, r.started_at or "", r.run_id))
    if len({run.run_id for run in runs}) < len(runs):
        raise InvalidRequest.of("results", "hold a run twice; give each run's result once")
    shown = next((run for run in reversed(runs) if run.findings), None)
    plan = (plans or {}).get(shown.run_id) if shown else None
    rows = rows_of(runs)
    strip = strip_of(rows, runs)
    cards = views.cards_of(shown, rows, runs, policy, plan) if shown else ()
    style = style_sheet()
    html = (
        environment()
        .get_template("sweep.html.jinja")
        .render(
            title=title,
            style=Markup(style),  # noqa: S704  a file of this package
            csp=content_security_policy(style),
            policy=policy,
            runs=runs,
            newest=runs[-1] if runs else None,
            shown=shown,
            plan=plan,
            asked=views.asked_of(plan) if plan else (),
            cards=cards,
            rows=rows,
            strip=strip,
            controls=told.controls_told(shown) if shown else (),
            opening=told.opening_told(shown) if shown else "",
            missing=told.missing_runs(runs),
            counts=[(o, n) for o in SweepOutcome if (n := sum(r.outcome is o for r in runs))],
            total_cost=told.total_cost(runs),
            limits=limits_of(policy),
            advice=ADVICE,
            outcomes=SweepOutcome,
            read=ReadingStatus.READ,
            max_rows=MAX_ROWS,
            max_drawn=MAX_RUNS_DRAWN,
            max_strips=MAX_STRIPS,
        )
    )
    drawings = [
        strip,
        *(d for c in cards for d in (c.evidence and c.evidence.drawing, c.signs_drawing)),
    ]
    return SweepPage(
        html=html, plots={f"{drawing.name}.svg": drawing.file for drawing in drawings if drawing}
    )


def write_page(page: SweepPage, folder: Path) -> Path:
    """Write the page and its drawings into a folder, which is made; return the page's path.

    Raises: ConfigurationError where the folder cannot be written.
    """
    path = folder / PAGE_NAME
    try:
        plots = folder / PLOTS_FOLDER
        plots.mkdir(parents=True, exist_ok=True)
        for name, content in page.plots.items():
            (plots / name).write_bytes(content)
        path.write_bytes(page.html.encode("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the page to {folder}: {error.strerror}; "
            "name a folder that can be written"
        ) from error
    return path
