"""The detector of natural tokens: whole answers, replayed token by token and judged.

Its evidence is the judge's own e-process over exchanges (`audit.judge.stream`): each answer is
weighed against the calibration's honest bounds for its kind, and added up as the evidence about a
provider is. A question asked twice counts once; what cannot be judged adds nothing.
"""

from collections.abc import Sequence

from audit.judge.alternatives import EvidenceLaw
from audit.judge.calibration import Calibration, stratum_key
from audit.judge.calls import read_calls
from audit.judge.noise import LEVELS_LOGITS_G, log_likelihood_G
from audit.judge.policy import Policy
from audit.judge.stream import StreamState, add_exchange, empty_state
from audit.judge.verdict import ConditionalJudge, evidence_laws
from audit.records import Claim, Measurement
from audit.sweep_records import (
    AnswerStatus,
    Candidate,
    Endpoint,
    Probe,
    Probed,
    Reading,
    ReadingStatus,
    Visible,
)
from audit.sweeps.detector import Tools
from audit.sweeps.replay.exchange import Weighed, answer_key, replay_again, weigh_answer
from audit.sweeps.replay.plan import plan_replays
from audit.sweeps.replay.visible import (
    UNRELATED,
    BoolArray,
    attacked_gains,
    honest_gains,
    unrelated_turns,
    what_was_visible,
)
from reference_runner.errors import BadSequence
from reference_runner.records import Evidence

DETECTOR_ID = "replay/1"

#: Weighed answers are kept, since each is looked at again whenever another one comes in.
MAX_KEPT = 4096

HONEST = "honest"


class ReplayDetector:
    """Replays ordinary answers; tier 1."""

    def __init__(
        self,
        tools: Tools,
        claim: Claim,
        policy: Policy,
        calibration: Calibration | None,
        *,
        version: str,
    ) -> None:
        self._tools = tools
        self._claim = claim
        self._policy = policy
        self._calibration = calibration
        self._judge = ConditionalJudge(calibration, policy, version=version)
        self._laws = {} if calibration is None else evidence_laws(calibration, policy)
        self._weighed: dict[str, Weighed] = {}
        self._candidate_evidence: dict[tuple[str, str], Evidence] = {}

    @property
    def detector_id(self) -> str:
        """Its versioned name."""
        return DETECTOR_ID

    @property
    def tier(self) -> int:
        """Replay is tier 1."""
        return 1

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return ordinary requests of 64 to 128 tokens; see `plan_replays`."""
        tools = self._tools
        return plan_replays(DETECTOR_ID, tools.reference, tools.texts, endpoint, seed, num_probes)

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return the evidence of the answers so far."""
        if self._calibration is None:
            return self._silent(
                ReadingStatus.UNCALIBRATED,
                "no calibration of the judge was given, so nobody knows how far honest tokens lie",
                len(probed),
            )
        state, used, notes = empty_state(), [], list[str]()
        log_e_nats_N: list[float] = []
        is_uncalibrated = False
        for one in probed:
            if one.answer.status is not AnswerStatus.ANSWERED:
                continue
            key = answer_key(endpoint, one)
            weighed = self._weigh(key, endpoint, one)
            is_uncalibrated |= weighed.is_uncalibrated
            if weighed.growth is None:
                notes.append(weighed.problem)
                continue
            grown = add_exchange(state, weighed.growth, self._policy.log_threshold_nats)
            if grown.num_exchanges == state.num_exchanges:
                notes.append("a question was asked twice, and counts once")
                continue
            state = grown
            used.append((key, weighed))
            log_e_nats_N.append(state.log_e_nats)
        if not used:
            status = ReadingStatus.UNCALIBRATED if is_uncalibrated else ReadingStatus.TOO_LITTLE
            reason = _counted(notes)[0] if notes else "no answer came back"
            return self._silent(status, reason, len(probed))
        return self._reading(state, used, log_e_nats_N, notes, len(probed))

    def _weigh(self, key: str, endpoint: Endpoint, one: Probed) -> Weighed:
        weighed = self._weighed.get(key)
        if weighed is None:
            weighed = weigh_answer(endpoint, self._claim, one, self._tools.reference, self._judge)
            if len(self._weighed) >= MAX_KEPT:
                self._weighed.clear()
                self._candidate_evidence.clear()
            self._weighed[key] = weighed
        return weighed

    def _reading(
        self,
        state: StreamState,
        used: Sequence[tuple[str, Weighed]],
        log_e_nats_N: Sequence[float],
        notes: Sequence[str],
        num_sent: int,
    ) -> Reading:
        growths = [w.growth for _, w in used if w.growth is not None]
        num_matches = sum(w.evidence.num_matches for _, w in used if w.evidence is not None)
        differing = sum(w.text_differs for _, w in used)
        told = _counted(notes)
        if differing:
            told += (f"{differing} answers hold token ids that spell another text than theirs",)
        return Reading(
            detector=DETECTOR_ID,
            tier=self.tier,
            status=ReadingStatus.READ,
            log_e_nats_N=tuple(log_e_nats_N),
            tells="".join("1" if growth.is_tell else "0" for growth in growths),
            honest_tell_rate=self._policy.tell_rate,
            num_sent=num_sent,
            num_used=len(used),
            statistics=(
                ("num_tokens", float(state.num_tokens)),
                ("matched_share", num_matches / state.num_tokens),
                ("noise_logits", state.noise.estimate_logits),
                ("honest_noise_logits", state.honest_noise_logits),
                ("texts_unlike_token_ids", float(differing)),
            ),
            candidates=self._candidates(state, used),
            visible=self._visible(used),
            notes=told,
        )

    def _silent(self, status: ReadingStatus, reason: str, num_sent: int) -> Reading:
        return Reading(
            detector=DETECTOR_ID, tier=self.tier, status=status, reason=reason, num_sent=num_sent
        )

    def _candidates(
        self, state: StreamState, used: Sequence[tuple[str, Weighed]]
    ) -> tuple[Candidate, ...]:
        """Return how well each model explains the tokens, were its noise that of honest traffic.

        Only once there is something to explain: every candidate costs a replay.
        """
        if state.log_e_nats < self._tools.log_threshold_nats:
            return ()
        level = int(abs(LEVELS_LOGITS_G - state.honest_noise_logits).argmin())
        found = []
        for name in (HONEST, *self._tools.candidates):
            total_nats = 0.0
            for key, weighed in used:
                measured, evidence = weighed.measured, self._evidence(name, key, weighed)
                if measured is None or evidence is None:
                    break
                calls = read_calls(evidence, measured.plan.sequence)
                total_nats += float(log_likelihood_G(calls)[level])
            else:
                found.append(Candidate(name=name, log_likelihood_nats=total_nats))
        return tuple(sorted(found, key=lambda c: -c.log_likelihood_nats))

    def _visible(self, used: Sequence[tuple[str, Weighed]]) -> Visible:
        calls_A = [w.calls for _, w in used if w.calls is not None]
        laws_A = [self._law(w.measured, w.evidence) for _, w in used if w.measured and w.evidence]
        attacks = {UNRELATED: attacked_gains(calls_A, laws_A, unrelated_turns(calls_A))}
        for name in self._tools.candidates:
            turned_A = [self._turned(name, key, weighed) for key, weighed in used]
            known_A = [turned_R for turned_R in turned_A if turned_R is not None]
            if len(known_A) == len(calls_A):
                attacks[name] = attacked_gains(calls_A, laws_A, known_A)
        return what_was_visible(
            honest_gains(calls_A, laws_A),
            attacks,
            threshold_nats=self._tools.log_threshold_nats,
            power=self._tools.power,
        )

    def _law(self, measured: Measurement, evidence: Evidence) -> EvidenceLaw:
        key = stratum_key(measured.plan, evidence.profile_id, measured.info.precision)
        return self._laws[key]

    def _turned(self, name: str, key: str, weighed: Weighed) -> BoolArray | None:
        """Return where a candidate draws another token than the reference, as far as can be told.

        Where exactly one of the two agrees with the answer, they do not agree with each other.
        """
        other = self._evidence(name, key, weighed)
        if other is None or weighed.evidence is None:
            return None
        return other.matched_R ^ weighed.evidence.matched_R

    def _evidence(self, name: str, key: str, weighed: Weighed) -> Evidence | None:
        """Return the tokens' evidence on a candidate; None where it cannot replay them."""
        if weighed.measured is None:
            return None
        if name == HONEST:
            return weighed.evidence
        place = (name, key)
        kept = self._candidate_evidence.get(place)
        if kept is not None:
            return kept
        try:
            evidence = replay_again(weighed.measured, self._tools.candidates[name])
        except BadSequence:
            return None
        # looks at several endpoints share what is kept; another may empty it meanwhile
        self._candidate_evidence[place] = evidence
        return evidence


def _counted(notes: Sequence[str]) -> tuple[str, ...]:
    """Return each note once, the most frequent first, with its number."""
    numbers: dict[str, int] = {}
    for note in notes:
        numbers[note] = numbers.get(note, 0) + 1
    order = sorted(numbers, key=lambda note: (-numbers[note], note))
    return tuple(f"{numbers[note]} not used: {note}" for note in order)
