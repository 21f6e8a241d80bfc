"""A detector and endpoints small enough to follow by hand, to test how runs are put together."""

import hashlib
import json
import math
from collections.abc import Sequence

from audit.records import Claim, Prompt, SamplingRequest
from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    Budget,
    Endpoint,
    EndpointRole,
    Opening,
    Probe,
    Probed,
    ProbeKind,
    RawAnswer,
    Reading,
    ReadingStatus,
    Visible,
)
from audit.sweeps.commitment import commitment_of
from audit.sweeps.plan import plan_run
from audit.sweeps.plan_file import StoredPlan
from audit.sweeps.probe import make_probe

DIGEST = "sha256:" + "cd" * 32
SEED = bytes(range(32))


class ParityDetector:
    """Asks for a letter; an endpoint that is honest answers `A`, up to once in fifty."""

    def __init__(self, detector_id: str = "border-greedy/1", kind: ProbeKind = ProbeKind.BORDER):
        self.detector_id = detector_id
        self.tier = 1
        self._kind = kind

    def plan(self, endpoint: Endpoint, seed: bytes, num_probes: int) -> tuple[Probe, ...]:
        """Return probes whose prompts are digests of the seed."""
        return tuple(
            make_probe(
                kind=self._kind,
                detector=self.detector_id,
                group="letter",
                api=endpoint.api,
                prompt=Prompt(text=hashlib.sha256(seed + bytes([index])).hexdigest()),
                sampling=SamplingRequest(temperature=0.0, max_tokens=1),
                expected={"text": "A"},
            )
            for index in range(num_probes)
        )

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        """Return a likelihood ratio of a rate of one half against one of a fiftieth."""
        used = [p for p in probed if p.answer.status is AnswerStatus.ANSWERED]
        tells = "".join("0" if p.answer.text == "A" else "1" for p in used)
        log_e, total = [], 0.0
        for tell in tells:
            total += math.log(0.5 / 0.02) if tell == "1" else math.log(0.5 / 0.98)
            log_e.append(total)
        return Reading(
            detector=self.detector_id,
            tier=1,
            status=ReadingStatus.READ if used else ReadingStatus.TOO_LITTLE,
            log_e_nats_N=tuple(log_e),
            tells=tells,
            honest_tell_rate=0.02,
            num_sent=len(probed),
            num_used=len(used),
            statistics=(("tell_rate:int4-g32", 0.5),),
            visible=Visible(power=0.9, smallest_share=0.2, needed=(("int4-g32", 8),)),
        )


def endpoint(name: str = "gateway", role: EndpointRole = EndpointRole.TARGET) -> Endpoint:
    """Return an endpoint that nobody listens at."""
    return Endpoint(
        name=name,
        base_url=f"http://localhost:9/{name}",
        model="example",
        role=role,
        api=ApiStyle.COMPLETIONS,
    )


def answered(text: str, sent_at: str = "2026-11-11T09:00:00.000000Z") -> RawAnswer:
    """Return a completion as servers send it."""
    body = {
        "id": "1",
        "model": "example",
        "choices": [{"index": 0, "text": text, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21},
    }
    return RawAnswer(
        status=AnswerStatus.ANSWERED,
        http_status=200,
        body=json.dumps(body),
        sent_at=sent_at,
        elapsed_s=0.01,
        num_attempts=1,
    )


def stored_plan(endpoints: Sequence[Endpoint], num_probes: int = 40) -> StoredPlan:
    """Return the plan of a first run."""
    budget = Budget(max_requests=1_000, max_tokens=1_000_000)
    plan = plan_run(endpoints, [ParityDetector()], {"border-greedy/1": num_probes}, SEED, budget)
    opening = Opening(
        seed=SEED.hex(),
        salt="00" * 16,
        plan_digest=plan.digest(),
        policy_id=DIGEST,
        bundle_id=DIGEST,
        code_version="0.1.0",
    )
    return StoredPlan(
        run_id="run-1",
        sweep_id="sweep-1",
        tenant="default",
        slot_at="2026-11-11T09:00:00.000000Z",
        run_number=1,
        spec_digest=DIGEST,
        claim=Claim(model="example"),
        detectors=(),
        budget=budget,
        opening=opening,
        commitment=commitment_of(opening),
        started_at="2026-11-11T09:00:00.000000Z",
        earlier_runs=(),
        plan=plan,
    )
