"""Turns answers into distances from a model: one a prompt, and which answer completed it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from audit.sweep_records import AnswerStatus, PositionLogprobs, Probe, Probed, TokenLogprob
from audit.sweeps.logprobs.compare import Aligned, Scorer, align
from audit.sweeps.logprobs.tracking import mean_distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Distances in the plan's order."""

    distances: tuple[float, ...]
    """Nats, one for each prompt whose answers are complete."""
    num_distances_N: tuple[int, ...]
    """For each usable answer, how many distances there were with it."""
    max_gap_nats: float
    num_without: int
    """Answers that came without log-probabilities."""
    notes: tuple[str, ...]
    is_mean: bool
    """Whether distances are mean differences of one token, not divergences of answers."""
    requests_each: int
    """Requests that one distance takes."""
    scored: tuple[Aligned, ...] = field(repr=False)
    """One answer of each distance."""
    num_top: int

    @property
    def num_used(self) -> int:
        """Number of usable answers."""
        return len(self.num_distances_N)

    def as_answered_by(
        self, candidate: Scorer, honest: Scorer, known: dict[Aligned, float | None]
    ) -> list[float]:
        """Return the distances had a candidate given the log-probabilities of these tokens.

        `known` holds those of earlier looks, and takes the new ones.
        """
        for aligned in self.scored:
            if aligned not in known:
                known[aligned] = self._answered_by(candidate, honest, aligned)
        found = [known[aligned] for aligned in self.scored]
        return [distance for distance in found if distance is not None]

    def _answered_by(self, candidate: Scorer, honest: Scorer, aligned: Aligned) -> float | None:
        laws = candidate.laws(aligned)
        if laws is None:
            return None
        positions = tuple(
            _position(law, token_id, self.num_top)
            for law, token_id in zip(laws, aligned.output_token_ids, strict=True)
        )
        answered = Aligned(
            prompt_token_ids=aligned.prompt_token_ids,
            output_token_ids=aligned.output_token_ids,
            positions=positions,
        )
        return self._distance(answered, honest)

    def _distance(self, answered: Aligned, honest: Scorer) -> float | None:
        if self.is_mean:
            return _mean_difference([answered], honest, max(self.num_top, 1))
        found = honest.distance(answered)
        return None if found is None else found.kl_nats


def measure_kl(probed: Sequence[Probed], scorer: Scorer) -> Measured:
    """Return the divergence of each answer; a prompt counts once, however often it was asked."""
    distances: list[float] = []
    counts: list[int] = []
    scored: list[Aligned] = []
    gaps = [0.0]
    seen: set[object] = set()
    for item in probed:
        aligned = align(item.probe, item.answer, scorer)
        distance = None if aligned is None else scorer.distance(aligned)
        if aligned is None or distance is None or aligned.prompt_token_ids in seen:
            continue
        seen.add(aligned.prompt_token_ids)
        distances.append(distance.kl_nats)
        gaps.append(distance.max_gap_nats)
        scored.append(aligned)
        counts.append(len(distances))
    return Measured(
        distances=tuple(distances),
        num_distances_N=tuple(counts),
        max_gap_nats=max(gaps),
        num_without=_num_without(probed),
        notes=_notes(probed, len(counts)),
        is_mean=False,
        requests_each=1,
        scored=tuple(scored),
        num_top=_num_top(probed),
    )


def measure_tracking(probed: Sequence[Probed], scorer: Scorer) -> Measured:
    """Return the mean difference of each prompt, once as many answers as planned are usable."""
    distances: list[float] = []
    counts: list[int] = []
    scored: list[Aligned] = []
    rows: dict[object, list[Aligned]] = {}
    repeats = max((_repeats(item.probe) for item in probed), default=1)
    for item in probed:
        aligned = align(item.probe, item.answer, scorer)
        if aligned is None or scorer.laws(aligned) is None:
            continue
        row = rows.setdefault(aligned.prompt_token_ids, [])
        row.append(aligned)
        if len(row) == repeats:
            distances.append(_mean_difference(row, scorer, item.probe.wants_logprobs or 1))
            scored.append(aligned)
        counts.append(len(distances))
    return Measured(
        distances=tuple(distances),
        num_distances_N=tuple(counts),
        max_gap_nats=max(distances, default=0.0),
        num_without=_num_without(probed),
        notes=_notes(probed, len(counts)),
        is_mean=True,
        requests_each=repeats,
        scored=tuple(scored),
        num_top=_num_top(probed),
    )


def first_token_row(aligned: Aligned, scorer: Scorer, num_top: int) -> dict[str, float]:
    """Return the first position's likeliest tokens, named by token id or spelling.

    A drawn token that is appended to them is left out: it would move with every draw.
    """
    position = aligned.positions[0]
    likeliest = sorted(position.top, key=lambda item: -item.logprob_nats)[:num_top]
    named = {}
    for item in likeliest or [position.chosen]:
        name = item.token_id if item.token_id is not None else scorer.id_of(item.token or "")
        named[f"text {item.token}" if name is None else f"id {name}"] = item.logprob_nats
    return named


def _mean_difference(row: Sequence[Aligned], scorer: Scorer, num_top: int) -> float:
    theirs = [first_token_row(aligned, scorer, num_top) for aligned in row]
    laws = scorer.laws(row[0]) or []
    likeliest = sorted(laws[0].items(), key=lambda pair: (-pair[1], pair[0]))
    ours = {f"id {token}": logprob for token, logprob in likeliest[: max(map(len, theirs))]}
    return mean_distance([ours], theirs)


def _position(law: dict[int, float], token_id: int, num_top: int) -> PositionLogprobs:
    likeliest = sorted(law.items(), key=lambda pair: (-pair[1], pair[0]))[: max(num_top, 1)]
    return PositionLogprobs(
        chosen=TokenLogprob(token_id=token_id, logprob_nats=law[token_id]),
        top=tuple(TokenLogprob(token_id=token, logprob_nats=value) for token, value in likeliest),
    )


def _repeats(probe: Probe) -> int:
    found = json.loads(probe.expected_json).get("repeats", 1)
    return found if isinstance(found, int) and found >= 1 else 1


def _num_top(probed: Sequence[Probed]) -> int:
    return max((item.probe.wants_logprobs or 0 for item in probed), default=0)


def _num_without(probed: Sequence[Probed]) -> int:
    return sum(
        item.answer.status is AnswerStatus.ANSWERED and not item.answer.logprobs for item in probed
    )


def _notes(probed: Sequence[Probed], num_used: int) -> tuple[str, ...]:
    answered = sum(item.answer.status is AnswerStatus.ANSWERED for item in probed)
    notes = []
    if answered < len(probed):
        notes.append(f"{len(probed) - answered} of {len(probed)} requests were not answered.")
    if num_used < answered:
        notes.append(
            f"{answered - num_used} answers could not be used: their log-probabilities do not "
            "belong to their tokens, or their prompt had been asked before."
        )
    return tuple(notes)
