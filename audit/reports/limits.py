"""What a report says about its own reach: chance, choice of exchanges, and what stays unseen."""

from audit.reports.records import (
    AttackRange,
    FamilyWiseError,
    FigureRange,
    Limits,
    Listing,
    LogIdentity,
    ReportScope,
    Sampling,
    SweepLine,
    Totals,
)
from audit.reports.spool import Spool
from audit.reports.tallies import PowerTally

_ALWAYS = (
    "A PASSED verdict says that no deviation above the stated sensitivity was seen in that "
    "exchange; it says nothing of exchanges that were not audited.",
    "Exchanges that were never announced leave no trace in the log: whether all that should have "
    "been audited were, only the sampling can show.",
    "The log holds neither prompts nor answers: an exchange is named by its digest, which only the "
    "holder of the recording can recompute.",
    "Provider, endpoint and claimed model are as the recorder stated them.",
)


def sampling(sweeps: Listing[SweepLine], totals: Totals) -> Sampling:
    """Return how much of the traffic was audited, as far as the log knows."""
    stated = [sweep.population for sweep in sweeps.items if sweep.population is not None]
    is_known = bool(stated) and len(stated) == sweeps.total
    population = sum(stated) if is_known else None
    fraction = totals.num_verdicts / population if population else None
    statement = (
        "The log does not state from how many exchanges the audited ones were chosen; the fraction "
        "that was audited is unknown."
        if fraction is None
        else f"{totals.num_verdicts} of {population} exchanges have a verdict."
    )
    return Sampling(
        population=population,
        num_intents=totals.num_intents,
        num_verdicts=totals.num_verdicts,
        achieved_fraction=fraction,
        statement=statement,
    )


def family_wise_error(spool: Spool, power: PowerTally, num_providers: int) -> FamilyWiseError:
    """Return how many FAILED verdicts honest providers would get by chance."""
    bound = 0.0
    rows = spool.query(
        "SELECT l.stream_log10_threshold FROM streams s "
        "JOIN lines l ON l.log_index = s.log_index ORDER BY s.stream_id"
    )
    for (threshold,) in rows:
        # Ville's inequality: an honest provider's e-value ever reaches 1/alpha with chance alpha.
        bound += min(1.0, 10.0 ** -float(threshold or 0.0))
    expected = power.expected_false_alarms
    any_bound, provider_bound = min(1.0, expected), min(1.0, bound)
    return FamilyWiseError(
        num_tested=power.num_tested,
        expected_false_alarms=expected,
        any_false_alarm_bound=any_bound,
        num_providers=num_providers,
        provider_false_alarm_bound=provider_bound,
        statement=(
            f"If every provider were honest, {expected:.3g} of the {power.num_tested} tested "
            f"exchanges would be expected to be FAILED by chance, and the chance of at least one "
            f"is at most {any_bound:.3g}. The chance that the evidence added up over its exchanges "
            f"ever fails an honest one of the {num_providers} providers is at most "
            f"{provider_bound:.3g}, however often one looks."
        ),
    )


def limits(
    scope: ReportScope,
    identity: LogIdentity,
    totals: Totals,
    figures: tuple[FigureRange, ...],
    attacks: tuple[AttackRange, ...],
) -> Limits:
    """Return what could not be seen."""
    statements = [*_ALWAYS]
    if not attacks:
        statements.append(
            "No verdict states its power against named attacks: no study of the calibration "
            "measured it."
        )
    if not identity.is_quorum_met:
        statements.append(
            "No quorum of witnesses cosigned the last checkpoint: that others were shown the same "
            "log rests on the operator's word."
        )
    if scope.first_index:
        statements.append(
            f"The report begins at index {scope.first_index}: policies, calibrations and key "
            "events before it are not listed, and a tenant's chain is followed from there."
        )
    if scope.end_index != identity.last.size:
        statements.append(
            f"The report ends below index {scope.end_index}, though the log goes on: an intent "
            "that is listed as MISSING may be answered after it."
        )
    if totals.num_foreign:
        statements.append(
            f"{totals.num_foreign} entries of other tenants were not opened; only their places in "
            "the tree are checked."
        )
    return Limits(figures=figures, attacks=attacks, statements=tuple(statements))
