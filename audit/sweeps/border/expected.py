"""What the auditor knows about a border probe, and whether an answer tells against it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from audit.errors import InvalidRequest
from audit.sweep_records import AnswerStatus, Probe, ProbeAnswer
from audit.sweeps.border.bands import cell_of
from audit.sweeps.border.pool import Choice, Spot, firmness, num_leaning

_MEMBERS = {"first", "second", "firstText", "gapLogits", "gapSteps", "contenderLogits", "choices"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedAnswer:
    """The reference's choice at a probe, and what substitutes choose."""

    first: int
    second: int
    first_text: str | None
    """None where text cannot tell the first choice from the second."""
    gap_logits: float
    gap_steps: float
    contender_logits: float
    choices: Mapping[str, Choice]

    @property
    def firm_steps(self) -> float:
        """How clearly the claimed model prefers its first choice."""
        return firmness(self.gap_steps, self.choices)

    @property
    def cell(self) -> int:
        """The cell that the probe counts in."""
        return cell_of(self.firm_steps, num_leaning(self.choices) > 0)


def expected_members(spot: Spot, first_text: str | None) -> dict[str, object]:
    """Return a spot as the members of `Probe.expected_json`."""
    return {
        "first": spot.first,
        "second": spot.second,
        "firstText": first_text,
        "gapLogits": spot.gap_logits,
        "gapSteps": spot.gap_steps,
        "contenderLogits": spot.contender_logit,
        "choices": {
            name: [choice.token, choice.margin_steps] for name, choice in spot.choices.items()
        },
    }


def read_expected(probe: Probe) -> ExpectedAnswer:
    """Return what a probe's plan wrote down. Raises: InvalidRequest where it is no border probe."""
    members = json.loads(probe.expected_json)
    if not isinstance(members, dict) or set(members) != _MEMBERS:
        raise InvalidRequest.of(
            "probe.expected", f"holds other members than a border probe's; {probe.probe_id} is none"
        )
    try:
        return ExpectedAnswer(
            first=int(members["first"]),
            second=int(members["second"]),
            first_text=members["firstText"],
            gap_logits=float(members["gapLogits"]),
            gap_steps=float(members["gapSteps"]),
            contender_logits=float(members["contenderLogits"]),
            choices={
                str(name): Choice(token=int(token), margin_steps=float(margin))
                for name, (token, margin) in sorted(members["choices"].items())
            },
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest.of(
            "probe.expected", f"cannot be read as a near-tie: {error}"
        ) from error


def read_tell(expected: ExpectedAnswer, answer: ProbeAnswer) -> bool | None:
    """Return whether the answer begins with another token than expected; None where unreadable.

    Token ids decide where the endpoint gives them. Text is compared without white space at its
    ends, which servers strip; more than one token of text cannot be compared with one.
    """
    if answer.status is not AnswerStatus.ANSWERED:
        return None
    if answer.token_ids:
        return answer.token_ids[0] != expected.first
    if answer.text is None or expected.first_text is None:
        return None
    if answer.completion_tokens is not None and answer.completion_tokens > 1:
        return None
    text = answer.text.strip()
    if not text and answer.finish_reason != "stop":
        # nothing visible and no end: hidden tokens, perhaps
        return None
    return text != expected.first_text


def telling_text(spot: Spot, first: str, second: str) -> str | None:
    """Return the first choice's text as answers are compared, or None where it tells nothing.

    `first` and `second` are the choices as servers spell them.
    """
    ours, theirs = first.strip(), second.strip()
    is_broken = "\ufffd" in ours + theirs
    return None if is_broken or not ours or ours == theirs or spot.first == spot.second else ours
