"""What a report lists of the log itself, apart from verdicts.

Hashes are lower-case hex, digests `sha256:<hex>`; times RFC 3339 UTC; indexes count from 0.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLine:
    """A published checkpoint."""

    size: int
    root: str
    note: str
    """The whole signed note, with witnesses' lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessLine:
    """A witness of the trust root's policy, and whether it cosigned the last checkpoint."""

    name: str
    cosigned_at: str | None
    """By the witness's own clock; None where it did not cosign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampLine:
    """A time-stamp (RFC 3161) over the last checkpoint."""

    size: int
    authority: str
    response_digest: str
    stamped_at: str | None = None
    """By the authority's clock; None where no authority of the trust root vouches for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SightingLine:
    """The latest checkpoint that witnesses cosigned before a key was compromised."""

    key_id: str
    cosigned_at: str
    """The earliest cosignature, by the witness's own clock."""
    checkpoint: CheckpointLine
    """The key's entries below its size were seen before the compromise."""
    consistency: tuple[str, ...]
    """Consistency proof from it to the last checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIdentity:
    """Which log this is, and between which two of its states the report looks."""

    origin: str
    vkey: str
    """The log's verification key, C2SP vkey."""
    trust_root_digest: str
    """`sha256:<hex>` of the trust root file."""
    first: CheckpointLine
    """The smallest published checkpoint that reaches into the window."""
    last: CheckpointLine
    consistency: tuple[str, ...]
    """Consistency proof from first to last."""
    witnesses: tuple[WitnessLine, ...]
    quorum: str
    """The rule, in words."""
    is_quorum_met: bool
    timestamps: tuple[TimestampLine, ...]
    sightings: tuple[SightingLine, ...] = ()
    """One for each compromised key of which witnesses saw anything before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingVerdict:
    """An intent in the window that no readable verdict answers up to the last checkpoint."""

    log_index: int
    """Of the intent."""
    audit_id: str
    tenant: str
    entry_digest: str
    exchange_digest: str
    announced_at: str


class ContentState(StrEnum):
    """Why the content of an entry is not there."""

    ERASED = "ERASED"
    """An erasure in the log covers it."""
    MISSING = "MISSING"
    """Nothing in the log explains it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneContent:
    """An entry whose leaf is in the log but whose envelope is not to be had."""

    log_index: int
    entry_digest: str
    """As the leaf names it."""
    state: ContentState
    stated_key: str
    """The entry key as the log's database states it: nobody signed that."""
    stated_tenant: str
    erasure_index: int | None
    """Log index of the erasure that covers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedEntry:
    """An entry that is there and cannot be relied on; it is counted nowhere else."""

    log_index: int
    entry_digest: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscountedEntry:
    """A sound entry by a key of the trust root that does not count there: it is not relied on."""

    log_index: int
    entry_digest: str
    kind: str
    key_id: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceGap:
    """Where a tenant's own numbering does not go on by one."""

    tenant: str
    after_sequence: int
    """The last number before the gap; 0 where the window starts the chain."""
    next_sequence: int
    at_index: int
    """Log index of the entry after the gap."""
    num_unexplained: int
    """Numbers in the gap for which no erased or missing content of this tenant stands."""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUse:
    """A policy or calibration: what the verdicts name, and what the log holds of it."""

    source_id: str
    digest: str | None
    """`sha256:<hex>` of its content, as its own entry says; None where no such entry was read."""
    log_index: int | None
    """Of its entry; None where no such entry was read."""
    entered_at: str | None
    """Time that its entry states."""
    num_verdicts: int
    first_verdict_index: int | None
    last_verdict_index: int | None
    statement: str | None
    """What its entry says of it, as canonical JSON; at most 4,096 characters."""

    @property
    def is_logged(self) -> bool:
        """Whether its content was put into the log before the window's end."""
        return self.log_index is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEventLine:
    """A key was introduced, retired or revoked."""

    log_index: int
    key_id: str
    event: str
    occurred_at: str
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureLine:
    """Content was erased by a tenant's or the law's wish."""

    log_index: int
    tenant: str
    before: str
    below_index: int
    erased_at: str
    num_stated: int | None
    """Entries that the erasure says it erased."""
    num_seen: int
    """Entries in the window that it explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLine:
    """An earlier report that was put into the log."""

    log_index: int
    manifest_digest: str
    reported_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLine:
    """A sweep's commitment: how the exchanges to be audited were chosen."""

    log_index: int
    sweep_id: str
    committed_at: str
    commitment: str
    """Digest of the seed, hex."""
    planned_fraction: float | None
    population: int | None
    """Exchanges to choose from; None where the log does not know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterLine:
    """What was found about the meter of an account, as of a number of requests."""

    log_index: int
    finding_id: str
    provider: str
    account: str
    model: str
    effort: str
    domain: str
    meter: str
    """AGREES, DISAGREES or INCONCLUSIVE."""
    direction: str | None
    statement: str
    tier: str | None
    evidence_controller: str | None
    num_requests: int
    num_violations: int
    log10_e_over: float
    log10_e_under: float
    found_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRunLine:
    """What one run of a sweep concluded about one endpoint; one without any was not performed."""

    log_index: int
    run_id: str
    sweep_id: str
    slot_at: str
    run_outcome: str
    endpoint: str
    """Empty where the run was not performed."""
    role: str
    outcome: str
    statement: str
    log10_e_value: float | None
    log10_threshold: float | None
    decided_after_requests: int | None
    num_requests: int
    share_low: float | None
    share_high: float | None
    explanation: str | None
    commitment: str | None
    """What the run had bound itself to, hex; None where it never began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUse:
    """A build of the reference runner and how many verdicts rest on it."""

    version: str
    device: str
    num_threads: int
    libraries: tuple[tuple[str, str], ...]
    num_verdicts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A signing key of the trust root and how many entries of the window it signed."""

    key_id: str
    num_entries: int
    first_index: int
    last_index: int
