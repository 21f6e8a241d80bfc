"""The records of the verdict log: what is appended to it, and what is read back.

A sealed entry is a signed envelope with its leaf. Envelopes are kept apart from leaves, by digest,
so that content can be erased while the tree stays whole. Hashes are SHA-256, 32 bytes; digests are
text, `sha256:<hex>`. Indexes count from 0, tenant sequences from 1.
"""

from dataclasses import dataclass
from enum import StrEnum

from audit.records import Job, SignedVerdict, StoredStream

DEFAULT_TENANT = "default"


class EntryKind(StrEnum):
    """What an entry of the log says."""

    INTENT = "intent"
    """An audit is about to run."""
    VERDICT = "verdict"
    POLICY = "policy"
    CALIBRATION = "calibration"
    KEY_EVENT = "key_event"
    SWEEP_COMMITMENT = "sweep_commitment"
    REPORT = "report"
    ERASURE = "erasure"
    BILLING = "billing"
    """What is found about an account's meter, as of a number of requests."""
    SWEEP_RESULT = "sweep_result"
    """What one run of a sweep concluded, or that it was not performed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLink:
    """Where an entry stands among those of its tenant; signed with it."""

    tenant: str
    sequence: int
    previous_digest: str | None
    """Entry digest of the tenant's entry before; None for the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """An entry that is durable in the log, under a published checkpoint."""

    log_index: int
    entry_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEntry:
    """A signed statement, ready to be appended."""

    kind: EntryKind
    tenant: str
    tenant_sequence: int
    entry_key: str
    """Says what the entry is about, such as `verdict:<audit id>`; the log takes each key once."""
    audit_id: str | None
    entry_digest: str
    """SHA-256 of the DSSE pre-authentication encoding: the digest that the leaf names."""
    envelope: bytes
    leaf_body: bytes
    leaf_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeHead:
    """The tree at one size; `range_hashes` are its complete subtrees, largest first."""

    size: int
    root: bytes
    range_hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantHead:
    """The last entry of a tenant."""

    tenant: str
    sequence: int
    entry_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Up to 256 hashes of one level, of 32 bytes each; level 0 holds leaf hashes."""

    level: int
    index: int
    hashes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSnapshot:
    """What a sequencer has to know before it appends, read in one transaction."""

    head: TreeHead
    tenants: tuple[TenantHead, ...]
    """Those of the tenants asked for that have entries."""
    known: tuple[tuple[str, Receipt], ...]
    """Those of the entry keys asked for that are in the log already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a verdict names by digest, such as the evidence per token."""

    digest: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """What ends a job, in the transaction that appends its verdict."""

    job: Job
    signed: SignedVerdict
    stream: StoredStream | None = None
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """Content of a tenant to be erased: entries recorded before a time and below an index."""

    tenant: str
    before: str
    """RFC 3339 UTC."""
    below_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch:
    """Entries that go into the log together, and what else must be true at the same moment."""

    previous: TreeHead
    head: TreeHead
    entries: tuple[SealedEntry, ...]
    """The first one gets the index `previous.size`."""
    tiles: tuple[Tile, ...]
    """Tiles to be stored: level 0 once complete, higher levels as they grow."""
    job_ends: tuple[JobEnd, ...] = ()
    erasures: tuple[Erasure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """An entry as read back; no envelope where its content was erased or is gone."""

    log_index: int
    kind: EntryKind
    tenant: str
    tenant_sequence: int
    entry_key: str
    audit_id: str | None
    entry_digest: str
    leaf_body: bytes
    leaf_hash: bytes
    envelope: bytes | None
    recorded_at: str
    erased_at: str | None
    """When its content was erased by an erasure that is in the log; None where it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCheckpoint:
    """A signed checkpoint, as published: a signed note, perhaps with witnesses' lines."""

    size: int
    root: bytes
    note: bytes
    issued_at: str
    is_witnessed: bool = False
    """Whether the witnesses' quorum of the log's own policy was met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTimestamp:
    """An RFC 3161 response (DER) over a checkpoint's note text."""

    size: int
    authority: str
    response: bytes
    obtained_at: str
