"""Whether an endpoint obeys max_tokens, stop, temperature and seed."""

from collections.abc import Sequence

import numpy as np

from audit.sweep_records import Endpoint, Misconfiguration, Probed
from audit.sweeps.preflight.checks import Checked, answered, common_prefix, num_tokens, pairs
from audit.sweeps.preflight.local import LocalModel

#: Two answers with one seed that part so early were drawn apart; rounding parts them later.
_EARLY_TOKENS = 4

#: A coincidence less likely than this is none.
_SMALL_CHANCE = 1e-3


def check_lengths(probed: Sequence[Probed], local: LocalModel) -> Checked:
    """Compare the lengths of answers with `max_tokens`."""
    too_long = []
    for item in answered(probed, "max-tokens"):
        limit = item.probe.sampling.max_tokens or 0
        exact = num_tokens(item)
        found = exact if exact is not None else len(local.answer_ids(item.answer) or ())
        # text that is cut into tokens anew may give a few more than were drawn
        if found > (limit if exact is not None else 2 * limit + 2):
            too_long.append(f"{found} for {limit}")
    if not too_long:
        return Checked()
    return _found(
        "max-tokens",
        f"Answers are longer than max_tokens allows: {', '.join(too_long)} tokens. Ask the "
        "provider for its smallest answer, and bound the bill otherwise.",
    )


def check_stops(probed: Sequence[Probed]) -> Checked:
    """Look for stop strings within answers."""
    passed = 0
    items = answered(probed, "stop")
    for item in items:
        text = item.answer.text or ""
        for stop in item.probe.stop:
            at = text.find(stop)
            # some engines leave the stop string at the end
            passed += 0 <= at < len(text) - len(stop)
    if not passed:
        return Checked()
    return _found(
        "stop",
        f"{passed} of {len(items)} answers go on behind their stop string. Cut answers yourself, "
        "or ask the provider to obey `stop`.",
    )


def check_greedy(probed: Sequence[Probed], local: LocalModel) -> Checked:
    """Compare the first tokens of greedy answers to one prompt."""
    found = pairs(probed, "greedy")
    differing = sum(common_prefix(*pair, local)[0] == 0 for pair in found)
    if not differing:
        return Checked()
    return _found(
        "temperature-0",
        f"{differing} of {len(found)} prompts got different first tokens when asked twice at "
        "temperature 0, though the reference's best token leads clearly. Ask the provider whether "
        "it overrides the temperature, or serves several models under one name.",
        # one pair alone may as well have met two models
        is_decisive=differing == len(found) and differing > 1,
    )


def check_entropy(probed: Sequence[Probed], local: LocalModel) -> Checked:
    """Compare draws at temperature 1 with how they should vary."""
    items = answered(probed, "entropy")
    firsts = [str((local.answer_ids(i.answer) or (i.answer.text or "",))[:1]) for i in items]
    if len(items) < 2:
        return Checked()
    law = local.first_law(items[0].probe.prompt)
    statistics = (
        ("distinct_draws", float(len(set(firsts)))),
        ("reference_entropy_nats", local.entropy_nats(items[0].probe.prompt)),
    )
    chance = float(np.sum(law ** len(items))) if len(law) else 1.0
    if len(set(firsts)) > 1 or chance > _SMALL_CHANCE:
        return Checked(statistics=statistics)
    checked = _found(
        "temperature-1",
        f"{len(items)} draws at temperature 1 with different seeds gave one and the same token; by "
        f"the reference that has a chance of {chance:.0e}. The temperature is overridden, or "
        "answers are kept from earlier requests. Ask the provider to obey `temperature`.",
        is_decisive=True,
    )
    return Checked(findings=checked.findings, statistics=statistics)


def check_seeds(endpoint: Endpoint, probed: Sequence[Probed], local: LocalModel) -> Checked:
    """Compare answers to one prompt with one seed."""
    found = pairs(probed, "seed")
    prefixes = [common_prefix(first, second, local) for first, second in found]
    early = sum(shared < min(_EARLY_TOKENS, length) for shared, length in prefixes)
    whole = sum(shared == length for shared, length in prefixes)
    if not found:
        return Checked()
    statistics = (("same_seed_same_answer_share", whole / len(found)),)
    if early < len(found) or len(found) < 2:
        return Checked(statistics=statistics)
    checked = _found(
        "seed",
        f"All {len(found)} prompts got answers that part within {_EARLY_TOKENS} tokens when asked "
        "twice with one seed. Seeds are ignored here: leave seeded probes out for this endpoint.",
        # only where seeds are part of what is claimed does this explain anything
        is_decisive=endpoint.sampler_profile is not None,
    )
    return Checked(findings=checked.findings, statistics=statistics)


def _found(check: str, detail: str, *, is_decisive: bool = False) -> Checked:
    return Checked(
        findings=(Misconfiguration(check=check, is_decisive=is_decisive, detail=detail),)
    )
