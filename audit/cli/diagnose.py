"""`diagnose`: what most likely lies behind the exchanges of a provider that fail."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from audit.cases import Case, judged_case
from audit.cli import options
from audit.cli.check import examine_line
from audit.cli.common import progress, require_files, require_profile, summary
from audit.cli.exits import exit_code_of_outcomes
from audit.cli.lines import print_line, stdout
from audit.codec.traffic import TrafficLine, read_traffic
from audit.config import DEFAULT_NUM_THREADS, ReplaySettings, parse_model
from audit.diagnose import Diagnoser
from audit.examine import Examiner
from audit.findings import Disposition, Explanation
from audit.judge.policy import load_policy
from audit.records import Examination, Outcome
from audit.shares import SiblingShare, SiblingShares

#: What a disposition means, for people.
MEANINGS = {
    Disposition.SUBSTITUTION: "another model, or a cheaper copy of it, answered",
    Disposition.MISCONFIGURED: "the claimed model answered, but not as it was asked to",
    Disposition.POLICY_DIFFERENT: "the claimed model answered, run otherwise than the policy says",
    Disposition.UNKNOWN: "no cause that was tried accounts for the tokens",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(diagnose)


def diagnose(
    model: options.Model,
    traffic: options.Traffic,
    calibration: Annotated[
        Path,
        typer.Option("--calibration", metavar="FILE", help="Made by `inference-audit calibrate`."),
    ],
    more_traffic: options.MoreTraffic = None,
    policy: options.Policy = None,
    sibling: options.Siblings = None,
    system_prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--system-prompt",
            metavar="TEXT",
            help="A hidden system prompt to try beside the built-in ones; may be given again.",
        ),
    ] = None,
    profile: options.Profile = None,
    dtype: options.Precision = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    as_json: options.AsJson = False,
) -> None:
    """Audit one provider's traffic and rank what explains the exchanges that fail, all together."""
    from audit.app import build_examiner, build_pooled_diagnoser

    require_profile(profile)
    files = [*traffic, *(more_traffic or ())]
    require_files(files)
    settings = ReplaySettings(
        models=(parse_model(str(model)),),
        calibration=calibration,
        policy=policy,
        siblings=tuple(parse_model(text) for text in sibling or ()),
        profile=profile,
        precision=dtype,
        num_threads=threads,
    )
    diagnoser = build_pooled_diagnoser(settings, system_prompt or ())
    shares = SiblingShares(diagnoser, alpha=load_policy(policy).test_rate)
    outcomes, explanations = _pooled(files, build_examiner(settings), diagnoser, shares)
    _report(outcomes, explanations, shares.found(), as_json=as_json)
    raise typer.Exit(exit_code_of_outcomes(outcomes))


def _pooled(
    files: list[Path], examiner: Examiner, diagnoser: Diagnoser, shares: SiblingShares
) -> tuple[list[Outcome], tuple[Explanation, ...]]:
    """Audit everything, keep as many failed exchanges as are replayed, and diagnose these."""
    outcomes: list[Outcome] = []
    cases: list[Case] = []
    num_tokens = 0
    with progress() as bar:
        task = bar.add_task("auditing", total=None)
        for line in read_traffic(files):
            examination = examine_line(line, examiner)
            outcomes.append(examination.verdict.outcome)
            case = _case(line, examination, examiner)
            if case is not None:
                shares.add(case)
                is_failed = examination.verdict.outcome is Outcome.FAIL
                if is_failed and num_tokens < diagnoser.max_tokens:
                    cases.append(case)
                    num_tokens += case.evidence.num_tokens
            bar.update(task, advance=1, description=f"auditing: {len(outcomes)} exchanges")
        bar.update(task, description=f"diagnosing {len(cases)} failed exchanges")
        return outcomes, diagnoser(cases)


def _case(line: TrafficLine, examination: Examination, examiner: Examiner) -> Case | None:
    if line.request is None:
        return None
    replay = examiner.replay
    return judged_case(line.request, examination, replay.library, replay.profile)


def _report(
    outcomes: list[Outcome],
    explanations: tuple[Explanation, ...],
    shares: tuple[SiblingShare, ...],
    *,
    as_json: bool,
) -> None:
    if as_json:
        counts = {outcome.value: outcomes.count(outcome) for outcome in Outcome}
        diagnosis, siblings = ([asdict(item) for item in found] for found in (explanations, shares))
        print_line({"outcomes": counts, "diagnosis": diagnosis, "siblings": siblings})
        return
    if explanations:
        stdout().print(_table(explanations))
    else:
        stdout().print("no exchange failed, so there is nothing to explain")
    for share in shares:
        stdout().print(share.statement, markup=False, highlight=False)
    stdout().print(summary(outcomes))


def _table(explanations: tuple[Explanation, ...]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("probability", justify="right")
    for name in ("explanation", "the answers were", "which means"):
        table.add_column(name, overflow="fold")
    for e in explanations:
        meaning = MEANINGS[e.disposition]
        table.add_row(f"{e.probability:.1%}", e.name, escape(e.statement), meaning)
    return table
