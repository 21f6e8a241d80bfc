"""Whether answers are kept and handed out again for other requests."""

from collections.abc import Sequence
from itertools import combinations

from audit.sweep_records import Misconfiguration, Probed
from audit.sweeps.preflight.checks import Checked, answered
from audit.sweeps.preflight.local import LocalModel

#: Two answers drawn apart are as alike as this by chance once in 3000 times or less.
_MAX_LOG_CHANCE = -8.0

#: An answer with so many of the reference's favourites was not drawn, but chosen.
_GREEDY_SHARE = 0.9


def check_cache(probed: Sequence[Probed], local: LocalModel) -> Checked:
    """Compare long answers to one prompt that were drawn with different seeds."""
    items = answered(probed, "cache")
    alike = sum(
        first.answer.text == second.answer.text and bool(first.answer.text)
        for first, second in combinations(items, 2)
    )
    statistics = (("equal_long_answers", float(alike)),)
    if not alike:
        return Checked(statistics=statistics)
    likely = [
        found
        for item in items
        for output in [local.answer_ids(item.answer)]
        if output is not None
        for found in [local.likelihood(item.probe.prompt, output)]
        if found is not None
    ]
    # a repeated answer that the reference is sure of proves nothing
    if not likely or min(chance for chance, _ in likely) > _MAX_LOG_CHANCE:
        return Checked(statistics=statistics, notes=("Equal long answers may be chance.",))
    is_greedy = min(share for _, share in likely) >= _GREEDY_SHARE
    name = "temperature-1" if is_greedy else "response-cache"
    cause = (
        "They are what temperature 0 gives: the temperature is overridden. Ask the provider to "
        "obey `temperature`."
        if is_greedy
        else "Answers are kept and handed out again whatever the seed. Ask for a route without a "
        "response cache."
    )
    finding = Misconfiguration(
        check=name,
        is_decisive=True,
        detail=f"{len(items)} long answers to one prompt were asked for at temperature 1 with "
        f"different seeds or none; {alike} of their pairs are equal, word for word. {cause}",
    )
    return Checked(findings=(finding,), statistics=statistics)
