"""Outcomes, roles and changes in words, and what to do about each outcome."""

from audit.sweep_records import ChangeKind, EndpointRole, SweepOutcome

_ROLES = {
    EndpointRole.TARGET: "target",
    EndpointRole.NEGATIVE_CONTROL: "honest control",
    EndpointRole.POSITIVE_CONTROL: "known copy",
}

#: What each outcome means, and what to do about it.
ADVICE = {
    SweepOutcome.INCONSISTENT: (
        "The answers differ from the claim by more than honest copies do. Ask the host what it "
        "runs, keep the recording, and compare another host."
    ),
    SweepOutcome.POLICY_DIFFERENT: (
        "It answers like a copy that is honest where it is stated, and that this claim excludes. "
        "Ask for the stated precision, or change the claim."
    ),
    SweepOutcome.MISCONFIGURED: (
        "The set-up explains what was seen. Mend what the checks name, then run again."
    ),
    SweepOutcome.CHANGED: (
        "It differs from its own past, not provably from the claim. Ask what was deployed, and "
        "wait for the next runs."
    ),
    SweepOutcome.UNINFORMATIVE: (
        "Nothing was found, and too little could have been. Raise the budget to what is stated, "
        "or calibrate more detectors."
    ),
    SweepOutcome.NOT_APPLICABLE: (
        "The endpoint offers nothing that the chosen detectors read. Choose others."
    ),
    SweepOutcome.CONSISTENT: (
        "Nothing was found, and what the policy names would have been. See what could not have "
        "been seen."
    ),
    SweepOutcome.VOID: (
        "A control misbehaved, so this run says nothing about any target. Mend the control and run "
        "again."
    ),
    SweepOutcome.NOT_PERFORMED: (
        "The run did not take place. That is neither good nor bad news about an endpoint."
    ),
}

CHANGES = {
    ChangeKind.NONE: "no change",
    ChangeKind.BLIP: "a blip: it differed for a while and came back",
    ChangeKind.STEP: "a step: from one run to the next, and it stayed",
    ChangeKind.RAMP: "a ramp: by and by",
    ChangeKind.ALTERNATION: "an alternation between two kinds of behaviour",
    ChangeKind.UNCONFIRMED: "an alarm too young to be told apart",
}


def outcome(value: SweepOutcome) -> str:
    """Return an outcome in words."""
    return value.value.replace("_", " ")


def role(value: EndpointRole) -> str:
    """Return why an endpoint was asked, in words."""
    return _ROLES[value]
