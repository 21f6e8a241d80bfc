"""What answers say about themselves: log-probabilities, upstream, model name, identity."""

import math
from collections.abc import Sequence

from audit.sweep_records import (
    AnswerStatus,
    Endpoint,
    Misconfiguration,
    PositionLogprobs,
    Probed,
    TokenLogprob,
)
from audit.sweeps.preflight.checks import Checked, answered
from audit.sweeps.preflight.local import LocalModel

#: Servers round what they return.
_ROUNDING_NATS = 0.01
_ROUNDING_MASS = 0.02

#: Longer answers to "who are you" are cut in the notes.
_MAX_QUOTED_CHARS = 120

_SPELT_IN_PART = "\ufffd"


def check_logprobs(probed: Sequence[Probed], local: LocalModel) -> Checked:
    """Check that log-probabilities are some: not above 0, a mass of 1 at most, of these tokens."""
    items = answered(probed, "logprobs")
    with_some = [item for item in items if item.answer.logprobs]
    if not items:
        return Checked()
    if not with_some:
        return _found(
            "logprobs-missing",
            f"{len(items)} requests asked for log-probabilities and none came back. State that "
            "this endpoint offers none.",
        )
    positions = [position for item in with_some for position in item.answer.logprobs]
    impossible = [problem for position in positions for problem in _impossible(position)]
    if impossible:
        return _found(
            "logprobs-impossible",
            f"{len(impossible)} times the returned log-probabilities are none: "
            f"{', '.join(sorted(set(impossible)))}. Leave detectors of log-probabilities out for "
            "this endpoint, and tell the provider.",
            is_decisive=True,
        )
    foreign = sum(_is_foreign(item, local) for item in with_some)
    if foreign:
        return _found(
            "logprobs-foreign",
            f"{foreign} of {len(with_some)} answers came with log-probabilities of other tokens "
            "than their own. They may be another model's than the text's; nothing excuses that.",
        )
    return Checked()


def check_names(endpoint: Endpoint, probed: Sequence[Probed]) -> Checked:
    """Compare the upstream and the model that answers name with those that were asked for."""
    answers = [i.answer for i in probed if i.answer.status is AnswerStatus.ANSWERED]
    upstreams = sorted({a.upstream for a in answers if a.upstream is not None})
    models = sorted({a.served_model for a in answers if a.served_model is not None})
    findings, notes = [], []
    expected = endpoint.expected_upstream
    if expected is not None and any(name != expected for name in upstreams):
        findings.append(
            Misconfiguration(
                check="upstream",
                is_decisive=True,
                detail=f"The upstream {expected} was asked for, and answers name "
                f"{', '.join(upstreams)}. Pin the route, or change what is claimed.",
            )
        )
    if expected is not None and not upstreams:
        notes.append(f"No answer names its upstream, so {expected} could not be checked.")
    asked = endpoint.model.casefold()
    other = [name for name in models if asked not in name.casefold()]
    if len(models) > 1 or any(name.casefold() not in asked for name in other):
        findings.append(
            Misconfiguration(
                check="model-name",
                is_decisive=False,
                detail=f"The model {endpoint.model} was asked for, and answers name "
                f"{', '.join(models)}. Names prove nothing; ask the provider what they stand for.",
            )
        )
    return Checked(findings=tuple(findings), notes=tuple(notes))


def check_identity(probed: Sequence[Probed]) -> Checked:
    """Report what the model says of itself; it decides nothing."""
    quoted = [(item.answer.text or "").strip() for item in answered(probed, "identity")]
    return Checked(
        notes=tuple(
            f"Asked who it is, the model said (which proves nothing): {text[:_MAX_QUOTED_CHARS]!r}"
            for text in quoted
        )
    )


def _impossible(position: PositionLogprobs) -> list[str]:
    """Return what is wrong with the numbers of one position."""
    by_name = {_name(item): item.logprob_nats for item in position.top}
    values = [position.chosen.logprob_nats, *by_name.values()]
    if any(math.isnan(value) or value > _ROUNDING_NATS for value in values):
        return ["some are above 0"]
    problems = []
    own = by_name.setdefault(_name(position.chosen), position.chosen.logprob_nats)
    # a token is named by its id at one place and by its text at another, and then stands twice
    is_named_twice = position.chosen.token_id is not None and any(
        item.token_id is None for item in position.top
    )
    if is_named_twice:
        by_name.pop(_name(position.chosen))
        own = by_name.get(position.chosen.token or "", position.chosen.logprob_nats)
    if math.fsum(math.exp(value) for value in by_name.values()) > 1.0 + _ROUNDING_MASS:
        problems.append("their probabilities sum to more than 1")
    is_spelt = _SPELT_IN_PART not in (position.chosen.token or "")
    if is_spelt and abs(own - position.chosen.logprob_nats) > _ROUNDING_NATS:
        problems.append("one token has two of them")
    others = [i.logprob_nats for i in position.top if _text(i) != _text(position.chosen)]
    if any(later > earlier + _ROUNDING_NATS for earlier, later in zip(others, others[1:])):  # noqa: B905, RUF007
        problems.append("they are not in order")
    return problems


def _is_foreign(item: Probed, local: LocalModel) -> bool:
    """Return whether the log-probabilities name other tokens than the answer holds."""
    answer = item.answer
    if answer.token_ids is None:
        pieces = [position.chosen.token for position in answer.logprobs]
        text = "".join(piece or "" for piece in pieces)
        has_gaps = None in pieces or _SPELT_IN_PART in text
        return not has_gaps and not text.startswith(answer.text or "")
    if len(answer.token_ids) != len(answer.logprobs):
        return True
    for token_id, position in zip(answer.token_ids, answer.logprobs, strict=True):
        chosen = position.chosen
        spelt = local.spell(token_id)
        if chosen.token_id is not None and chosen.token_id != token_id:
            return True
        if chosen.token is not None and _SPELT_IN_PART not in chosen.token:
            if spelt is not None and _SPELT_IN_PART not in spelt and spelt != chosen.token:
                return True
    return False


def _name(item: TokenLogprob) -> object:
    return item.token_id if item.token_id is not None else item.token or ""


def _text(item: TokenLogprob) -> object:
    return item.token if item.token is not None else item.token_id


def _found(check: str, detail: str, *, is_decisive: bool = False) -> Checked:
    return Checked(
        findings=(Misconfiguration(check=check, is_decisive=is_decisive, detail=detail),)
    )
