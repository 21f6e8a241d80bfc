"""Small logs of really signed entries, to report on."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.findings import AttackPower, NoiseEstimate, ProviderFinding
from audit.ledger import entries
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.evidence import TOKENS_MEDIA_TYPE
from audit.ledger.keys import SigningKey
from audit.ledger.merkle import EMPTY_HEAD, grow
from audit.ledger.notes import Ed25519NoteSigner, format_vkey, sign_note
from audit.ledger.reader import LogReader
from audit.ledger.seal import seal
from audit.ledger.statement import JsonMembers, build_statement
from audit.ledger.tiles import TileEdge
from audit.ledger.trust_root import TrustRoot, VerdictKey, dump_trust_root
from audit.log_records import (
    Artifact,
    ChainLink,
    EntryKind,
    Erasure,
    LogBatch,
    LogEntry,
    Receipt,
    SealedEntry,
    StoredCheckpoint,
    TreeHead,
)
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Job,
    Outcome,
    Output,
    Prompt,
    ProviderClaims,
    Reason,
    RunnerBuild,
    SamplingRequest,
    Sensitivity,
    Statistic,
    Timing,
    Verdict,
)
from audit.reports.source import LogSource
from storage.memory_audits import Audits
from storage.memory_log import InMemoryLogStore

ORIGIN = "log.test.example"
VERSION = "0.0.0-test"
START = datetime(2026, 1, 1, tzinfo=UTC)

KEY = SigningKey.of(ec.derive_private_key(0x5EED, ec.SECP256R1()))
OTHER_KEY = SigningKey.of(ec.derive_private_key(0x0DD, ec.SECP256R1()))
LOG_SIGNER = Ed25519NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
WITNESSES = tuple(
    WitnessSigner(f"witness-{n}.example", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))
    for n in (1, 2, 3)
)


def trust_root(*, quorum: str = "none", keys: tuple[VerdictKey, ...] = ()) -> bytes:
    """Return a trust root of the log, its three witnesses and its keys."""
    lines = [f"log {format_vkey(LOG_SIGNER.key)}"]
    lines += [f"witness w{n} {format_vkey(w.key)}" for n, w in enumerate(WITNESSES, start=1)]
    lines += ["group two 2 w1 w2 w3", f"quorum {quorum}"]
    return dump_trust_root(
        TrustRoot(policy="\n".join(lines) + "\n", verdict_keys=keys or (verdict_key(),))
    )


def verdict_key(key: SigningKey = KEY, *, from_index: int = 0) -> VerdictKey:
    return VerdictKey(
        key_id=key.key_id,
        public_key_pem=key.public_key_pem.decode("ascii"),
        verifier_id="inference-audit",
        from_index=from_index,
    )


def job(
    number: int,
    *,
    tenant: str = "default",
    provider: str | None = "Example AI",
    model: str | None = "example/tiny-8b",
) -> Job:
    """Return the job of an audit."""
    exchange = Exchange(
        prompt=Prompt(text="private"),
        output=Output(text="private", token_ids=(1, 2)),
        sampling=SamplingRequest(temperature=0.7),
        timing=Timing(started_at="2025-12-31T23:00:00Z"),
        provider=ProviderClaims(provider=provider, endpoint="https://api.example.org/v1"),
    )
    claim = Claim(model=model, weights_digest="sha256:" + "11" * 32, precision="bfloat16")
    request = AuditRequest(request_id=f"request-{number}", exchange=exchange, claim=claim)
    return Job(
        audit_id=f"audit-{number}",
        request=request,
        request_digest=f"sha256:{number:064x}",
        attempt=1,
        tenant=tenant,
    )


def verdict(number: int, outcome: Outcome = Outcome.PASS, *, log10_e: float = -0.5) -> Verdict:
    """Return a verdict with every field that a report shows."""
    reasons = {
        Outcome.PASS: (),
        Outcome.FAIL: (Reason.TOKEN_DIVERGENCE,),
        Outcome.INCONCLUSIVE: (Reason.TOO_FEW_TOKENS, Reason.UNCALIBRATED),
    }[outcome]
    return Verdict(
        outcome=outcome,
        reasons=reasons,
        details=("Ask again.",) if reasons else (),
        notes=("top_k was assumed; see the server's defaults.",),
        profile_id="vllm-gumbel-v1",
        precision="bfloat16",
        num_tokens=100 + number % 7,
        num_matches=99,
        mean_clipped_margin_logits=-1.5e-07 * number,
        statistics=(
            Statistic(
                name="log10_e_value",
                value=log10_e,
                threshold=4.0,
                num_tokens=100,
                unit="log10 of the e-value",
                false_alarm_rate=0.0001,
            ),
        ),
        sensitivity=Sensitivity(
            power=0.9,
            logit_noise_logits=0.25 + 0.01 * (number % 5),
            substituted_token_share=None if number % 2 else 0.125,
            statement="Noise of 0.25 logits would have been failed nine times in ten.",
            attacks=(
                AttackPower(attack="int4", label="4-bit", power=0.5, num_tokens_needed=400),
                AttackPower(attack="other", label="Other", power=0.99, num_tokens_needed=None),
            ),
        ),
        calibration_id="tiny-bf16",
        policy_id="policy-1",
        model_digest="sha256:" + "11" * 32,
        runner=RunnerBuild(
            version=VERSION, device="cpu", num_threads=2, libraries=(("torch", "2.7.0"),)
        ),
        log10_e_value=log10_e,
        noise=NoiseEstimate(
            estimate_logits=0.02, low_logits=0.01, high_logits=None, confidence=0.95
        ),
        provider=finding(number, log10_e),
    )


def finding(number: int, log10_e: float, *, stream: str = "a") -> ProviderFinding:
    """Return what is known of a provider after so many exchanges."""
    return ProviderFinding(
        stream_id=f"sha256:{stream * 64}",
        outcome="FAIL" if log10_e >= 4 else "PASS",
        statement=f"After {number + 1} exchanges.",
        num_exchanges=number + 1,
        num_tokens=100 * (number + 1),
        log10_e_value=log10_e,
        log10_threshold=4.0,
        failed_at_exchange=number + 1 if log10_e >= 4 else None,
        substituted_share_low=0.0,
        num_tells=0,
        sticky_log10_e_value=0.0,
        noise=None,
    )


class _Store(InMemoryLogStore):
    """A store to which artifacts are added, and from which content vanishes, by hand."""

    def __init__(self) -> None:
        super().__init__(Audits())
        self.artifacts: dict[str, Artifact] = {}
        self.changed: dict[int, LogEntry] = {}

    def read_artifact(self, digest: str) -> Artifact | None:
        return self.artifacts.get(digest)

    def read_entries(self, first: int, end: int) -> tuple[LogEntry, ...]:
        found = super().read_entries(first, end)
        return tuple(self.changed.get(entry.log_index, entry) for entry in found)


@dataclass
class SampleLog:
    """A log that is written to by hand, entry by entry, one second apart."""

    key: SigningKey = KEY
    store: _Store = field(default_factory=_Store)
    _edge: TileEdge = field(default_factory=lambda: TileEdge(size=0, partial=()))
    _head: TreeHead = EMPTY_HEAD
    _pending: list[SealedEntry] = field(default_factory=list)
    _chains: dict[str, ChainLink] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self._head.size + len(self._pending)

    def now(self) -> str:
        return (START + timedelta(seconds=self.size)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def add(
        self,
        kind: EntryKind,
        entry_key: str,
        build: Callable[[ChainLink], JsonMembers],
        *,
        tenant: str = "default",
        audit_id: str | None = None,
        skip: int = 0,
    ) -> Receipt:
        """Add an entry; `skip` leaves out so many numbers of the tenant's chain."""
        link = self._chains.get(tenant, ChainLink(tenant=tenant, sequence=1, previous_digest=None))
        link = replace(link, sequence=link.sequence + skip)
        sealed = seal(
            build(link), self.key, kind=kind, chain=link, entry_key=entry_key, audit_id=audit_id
        )
        self._chains[tenant] = ChainLink(
            tenant=tenant, sequence=link.sequence + 1, previous_digest=sealed.entry_digest
        )
        self._pending.append(sealed)
        return Receipt(log_index=self.size - 1, entry_digest=sealed.entry_digest)

    def intent(self, audit: Job) -> Receipt:
        return self.add(
            EntryKind.INTENT,
            f"intent:{audit.audit_id}",
            lambda link: entries.intent_statement(
                audit,
                policy_id="policy-1",
                calibration_id="tiny-bf16",
                announced_at=self.now(),
                verifier_version=VERSION,
                chain=link,
            ),
            tenant=audit.tenant,
            audit_id=audit.audit_id,
        )

    def verdict(
        self,
        audit: Job,
        judged: Verdict,
        intent: Receipt | None,
        *,
        evidence: tuple[Artifact, ...] = (),
        key: str | None = None,
        skip: int = 0,
    ) -> Receipt:
        return self.add(
            EntryKind.VERDICT,
            key or f"verdict:{audit.audit_id}",
            lambda link: build_statement(
                audit,
                judged,
                verified_at=self.now(),
                verifier_version=VERSION,
                chain=link,
                intent=intent,
                evidence=evidence,
            ),
            tenant=audit.tenant,
            audit_id=audit.audit_id,
            skip=skip,
        )

    def audit(self, number: int, judged: Verdict | None = None, **facts: str | None) -> Receipt:
        """Announce and judge one exchange."""
        audited = job(number, **facts)  # type: ignore[arg-type]
        return self.verdict(audited, judged or verdict(number), self.intent(audited))

    def policy(self, policy_id: str = "policy-1", text: bytes = b"alpha = 0.0001\n") -> Receipt:
        return self.add(
            EntryKind.POLICY,
            f"policy:{policy_id}",
            lambda link: entries.policy_statement(
                policy_id, text, logged_at=self.now(), verifier_version=VERSION, chain=link
            ),
        )

    def erase(self, before_index: int, *indexes: int, stated: int | None = None) -> Receipt:
        """Log an erasure and take content away."""
        erasure = Erasure(tenant="default", before=self.now(), below_index=before_index)
        receipt = self.add(
            EntryKind.ERASURE,
            f"erasure:default:{self.now()}",
            lambda link: entries.erasure_statement(
                erasure,
                num_entries=len(indexes) if stated is None else stated,
                logged_at=self.now(),
                verifier_version=VERSION,
                chain=link,
            ),
        )
        self.publish()
        self.lose(*indexes)
        return receipt

    def lose(self, *indexes: int) -> None:
        """Take content away without a word."""
        for index in indexes:
            self.change(index, lambda entry: replace(entry, envelope=None))

    def change(self, index: int, how: Callable[[LogEntry], LogEntry]) -> None:
        """Have the database hand out another entry."""
        self.publish()
        (entry,) = self.store.read_entries(index, index + 1)
        self.store.changed[index] = how(entry)

    def keep_tokens(self, content: bytes) -> Artifact:
        """Keep evidence per token."""
        import hashlib

        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        artifact = Artifact(digest=digest, media_type=TOKENS_MEDIA_TYPE, content=content)
        self.store.artifacts[digest] = artifact
        return artifact

    def publish(self, *, witnesses: int = 0) -> StoredCheckpoint:
        """Commit what is pending and publish a checkpoint."""
        if self._pending:
            hashes = [entry.leaf_hash for entry in self._pending]
            head = grow(self._head, hashes)
            self._edge, tiles = self._edge.grown(hashes)
            batch = LogBatch(
                previous=self._head, head=head, entries=tuple(self._pending), tiles=tiles
            )
            self.store.commit(batch, recorded_at=self.now())
            self._head, self._pending = head, []
        head = self._head
        text = format_checkpoint_body(Checkpoint(origin=ORIGIN, size=head.size, root=head.root))
        note = sign_note(text, [LOG_SIGNER])
        seconds = int(START.timestamp()) + head.size
        for witness in WITNESSES[:witnesses]:
            note += witness.cosign(text, seconds).encode("utf-8")
        checkpoint = StoredCheckpoint(
            size=head.size,
            root=head.root,
            note=note,
            issued_at=self.now(),
            is_witnessed=witnesses > 0,
        )
        self.store.save_checkpoint(checkpoint)
        return checkpoint

    def source(self, root: bytes | None = None) -> LogSource:
        """Return the log as a source, up to all that was added."""
        self.publish()
        return LogSource(LogReader(self.store), root or trust_root())


def busy_log(num_audits: int, *, seed: int = 1) -> SampleLog:
    """Return a log of many audits by two providers, with intents announced ahead."""
    log, chance = SampleLog(), random.Random(seed)  # noqa: S311
    log.policy()
    waiting: list[tuple[Job, Receipt, int]] = []
    for number in range(num_audits):
        provider = "Example AI" if chance.random() < 0.7 else "Sub Ltd"
        audited = job(number, provider=provider)
        waiting.append((audited, log.intent(audited), number))
        while len(waiting) > 3 or (waiting and chance.random() < 0.4):
            audited, intent, which = waiting.pop(0)
            log.verdict(audited, _judged(which, audited, chance), intent)
    for audited, intent, which in waiting:
        log.verdict(audited, _judged(which, audited, chance), intent)
    return log


def _judged(number: int, audited: Job, chance: random.Random) -> Verdict:
    is_other = audited.request.exchange.provider.provider == "Sub Ltd"
    grown = 0.02 * number if is_other else -0.3
    outcome = chance.choice([Outcome.PASS] * 8 + [Outcome.FAIL, Outcome.INCONCLUSIVE])
    judged = verdict(number, outcome, log10_e=grown)
    return replace(judged, provider=finding(number, grown, stream="b" if is_other else "a"))


def numbered(log: SampleLog, num_audits: int) -> Iterator[Receipt]:
    """Audit so many exchanges, one after the other."""
    for number in range(num_audits):
        yield log.audit(number)
