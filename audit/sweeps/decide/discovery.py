"""What one run says about all its endpoints: discoveries among the targets, and the controls."""

import math
from collections.abc import Sequence
from dataclasses import replace

from audit.errors import InvalidRequest
from audit.judge.combine import e_bh
from audit.sweep_records import EndpointFinding, EndpointRole, SweepOutcome
from audit.sweeps.decide.controls import trouble_with_controls
from audit.sweeps.policy import SweepPolicy

#: Gravest first.
GRAVITY = (
    SweepOutcome.INCONSISTENT,
    SweepOutcome.POLICY_DIFFERENT,
    SweepOutcome.MISCONFIGURED,
    SweepOutcome.CHANGED,
    SweepOutcome.UNINFORMATIVE,
    SweepOutcome.NOT_APPLICABLE,
    SweepOutcome.CONSISTENT,
)

_ACCUSING = (SweepOutcome.INCONSISTENT, SweepOutcome.POLICY_DIFFERENT)


def discovery_level_nats(policy: SweepPolicy, run_number: int, num_targets: int) -> float:
    """Return the log e-value that accuses an endpoint and makes it a discovery by itself.

    An endpoint is asked until then; with few targets it is the threshold of a single endpoint.
    """
    alone = math.log(max(num_targets, 1) / policy.false_discovery_rate)
    return max(policy.log_threshold_nats(run_number), alone)


def decide_run(
    findings: Sequence[EndpointFinding], policy: SweepPolicy
) -> tuple[SweepOutcome, str, tuple[EndpointFinding, ...]]:
    """Return a run's outcome, its statement, and its findings with the discoveries marked.

    A run whose controls misbehaved is void: its targets' outcomes become VOID, the controls keep
    theirs. Raises: InvalidRequest for two findings about one endpoint, or a run without targets.
    """
    targets = [finding for finding in findings if finding.role is EndpointRole.TARGET]
    if len({finding.endpoint for finding in findings}) < len(findings):
        raise InvalidRequest.of("findings", "name an endpoint twice; decide each one once")
    if not targets:
        raise InvalidRequest.of("endpoints", "hold no target; name what the sweep is about")
    trouble = trouble_with_controls(findings)
    if trouble:
        statement = f"Void, nothing is said about the targets: {' '.join(trouble)}"
        return SweepOutcome.VOID, statement, tuple(_voided(f, statement) for f in findings)
    # whoever is not accused counts with an e-value of zero, which only makes the others' lot harder
    log_e = {f.endpoint: f.log_e_nats if f.outcome in _ACCUSING else -math.inf for f in targets}
    rejected = e_bh(log_e, policy.false_discovery_rate)
    marked = tuple(
        replace(finding, is_discovery=finding.endpoint in rejected) for finding in findings
    )
    outcome = min((finding.outcome for finding in targets), key=GRAVITY.index)
    return outcome, _statement(marked, policy), marked


def _voided(finding: EndpointFinding, statement: str) -> EndpointFinding:
    if finding.role is not EndpointRole.TARGET:
        return finding
    return replace(finding, outcome=SweepOutcome.VOID, statement=statement, is_discovery=False)


def _statement(findings: Sequence[EndpointFinding], policy: SweepPolicy) -> str:
    targets = [finding for finding in findings if finding.role is EndpointRole.TARGET]
    counts = [
        f"{sum(f.outcome is outcome for f in targets)} {outcome.value.replace('_', ' ')}"
        for outcome in GRAVITY
        if any(f.outcome is outcome for f in targets)
    ]
    num = "1 endpoint" if len(targets) == 1 else f"{len(targets)} endpoints"
    sentences = [f"{num}: {', '.join(counts)}."]
    found = [finding.endpoint for finding in targets if finding.is_discovery]
    if found:
        sentences.append(
            f"Discoveries at a false discovery rate of {policy.false_discovery_rate:.0%}: "
            f"{', '.join(found)}."
        )
    if len(targets) == len(findings):
        sentences.append("No control was asked along, so the sweep itself was not checked.")
    return " ".join(sentences)
