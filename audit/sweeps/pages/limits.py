"""What a sweep does not say, in sentences that depend on the policy only."""

from audit.sweeps.pages import wording
from audit.sweeps.policy import OverRuns, SweepPolicy


def limits_of(policy: SweepPolicy) -> tuple[str, ...]:
    """Return the limits in the order of their weight."""
    rate = wording.share(policy.false_alarm_rate)
    over = (
        f"in each run: {rate} of the runs on an honest endpoint may accuse it, so many runs will "
        "see some false alarms"
        if policy.over_runs is OverRuns.EACH_RUN
        else f"over all runs together; later runs need more evidence than early ones ({rate})"
    )
    blind = "" if not policy.must_see else f" ({', '.join(policy.must_see)})"
    return (
        "“Consistent” is not “proven”. It says that nothing was found, and that the attacks that "
        f"the policy names{blind} would have been found in {wording.share(policy.power)} of runs, "
        "had they answered every request. Subtler copies and smaller shares may be there.",
        "A sweep speaks about the requests that it sent, at the time when it sent them. An "
        "endpoint that recognises probes, or customers, can treat them otherwise than yours. "
        "Audits of ordinary traffic see that.",
        "“Inconsistent” says that the answers differ from every honest variant that the bundle "
        "holds. An honest set-up that was never measured can look like that. It does not say why, "
        "and nothing about intent.",
        f"The false-alarm rate holds {over}. A part of it pays for honest variants having been "
        "measured on a finite sample.",
        "The named explanation is the best of the candidates that were tried. “Unknown” means that "
        "none stands out.",
        f"Bounds on shares hold at {wording.share(policy.share_confidence)} confidence. The upper "
        "one is for substitutes that show at least like the attacks that were measured.",
        "“Changed” is told against the endpoint's own past, not against the claim. A baseline that "
        "was already substituted stays quiet until it changes.",
        "“Uninformative”, “not applicable”, “void” and “not performed” are neither good nor bad "
        "news. A run without controls was not checked itself.",
    )
