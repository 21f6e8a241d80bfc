"""Takes an engine's own answers for the first choices: the reference then shares its kernels.

Two engines' kernels turn near-ties by a fixed difference, in the same way every time. An honest
server of the provider's own engine, asked once, tells that difference; probes that expect its
answers leave only what the provider changed.
"""

from collections.abc import Sequence

from audit.ports import ProbeReference
from audit.sweep_records import Probe, Probed
from audit.sweeps.border.expected import expected_members, read_expected, telling_text
from audit.sweeps.border.pool import Spot
from audit.sweeps.probe import make_probe


def rebased_probes(probed: Sequence[Probed], reference: ProbeReference) -> tuple[Probe, ...]:
    """Return the probes with the engine's answers for what is expected, in order.

    Probes that it answered without token ids are left out. Calibrate on rebased probes what is
    read from rebased probes.
    """
    return tuple(
        _rebased(one.probe, one.answer.token_ids[0], reference)
        for one in probed
        if one.answer.token_ids
    )


def _rebased(probe: Probe, token: int, reference: ProbeReference) -> Probe:
    expected = read_expected(probe)
    spot = Spot(
        prompt_token_ids=(),
        text=None,
        first=expected.first,
        second=expected.second,
        gap_logits=expected.gap_logits,
        contender_logit=expected.contender_logits,
        choices=expected.choices,
    ).rebased(token)
    text = telling_text(spot, reference.token_text(spot.first), reference.token_text(spot.second))
    return make_probe(
        kind=probe.kind,
        detector=probe.detector,
        group=probe.group,
        api=probe.api,
        prompt=probe.prompt,
        sampling=probe.sampling,
        expected=expected_members(spot, text),
    )
