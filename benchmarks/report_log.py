"""A log of very many audits for the benchmark of reports: quickly built, and really signed.

Several providers and models, all outcomes, intents announced eight at a time and some of them never
answered; the audits of one tenant are erased at the end. Statements are those that the recorder
would write, laid out once per provider and outcome.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

sys.path.insert(0, str(Path(__file__).parents[1]))

from sqlalchemy import Engine, event

from audit.ledger.canonical import canonical
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.entries import erasure_statement, intent_statement, policy_statement
from audit.ledger.merkle import EMPTY_HEAD, grow
from audit.ledger.notes import sign_note
from audit.ledger.seal import Prepared
from audit.ledger.statement import JsonMembers, build_statement
from audit.ledger.tiles import TileEdge
from audit.log_records import (
    ChainLink,
    EntryKind,
    Erasure,
    LogBatch,
    Receipt,
    SealedEntry,
    StoredCheckpoint,
    TreeHead,
)
from audit.records import Outcome, Verdict
from storage.engine import open_engine
from storage.log import SqlLogStore
from storage.upgrade import upgrade
from tests.unit.reports.sample_log import (
    KEY,
    LOG_SIGNER,
    ORIGIN,
    START,
    VERSION,
    finding,
    job,
    trust_root,
    verdict,
)

DATABASE, TRUST_ROOT = "log.sqlite", "trust-root.json"
BATCH_ENTRIES = 20_000
AHEAD = 8

#: Provider, model, and whether it fails in the end.
ENDPOINTS = (
    ("Example AI", "example/tiny-8b", False),
    ("Example AI", "example/large-70b", False),
    ("Northwind Inference", "example/tiny-8b", False),
    ("Halcyon Cloud", "meridian-8b-instruct", False),
    ("Sub Ltd", "example/large-70b", True),
)
ERASED_TENANT = "former"
ERASED_EVERY, MISSING_EVERY, FAILED_EVERY, INCONCLUSIVE_EVERY = 1_000, 2_000, 50, 17

#: What a laid-out statement leaves open; the marks stand for texts, the numbers for numbers.
MARKS = {
    "audit": "audit-771177",
    "request": "request-771177",
    "exchange": f"{771177:064x}",
    "time": "2026-07-07T07:07:07.070707Z",
    "observed": "2025-12-31T23:00:00Z",
    "intent_digest": "77" * 32,
    "intent": "7070707070",
    "tokens": "7171717171",
    "exchanges": "7272727272",
    "evidence": "-0.7373737373",
    "matches": "7474747474",
    "value": "0.7575757575",
    "power": "0.7676767676",
}
Facts: TypeAlias = dict[bytes, object]


@dataclass(slots=True)
class Builder:
    """Appends signed entries in large batches."""

    store: SqlLogStore
    head: TreeHead = EMPTY_HEAD
    edge: TileEdge = field(default_factory=lambda: TileEdge(size=0, partial=()))
    chains: dict[str, ChainLink] = field(default_factory=dict)
    pending: list[SealedEntry] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many entries there are, committed or not."""
        return self.head.size + len(self.pending)

    def now(self) -> str:
        """Return the time of the next entry; they are a second apart."""
        return _time(self.size)

    def add(self, kind: EntryKind, name: str, prepared: Prepared, tenant: str) -> Receipt:
        """Sign a statement at its place."""
        link = self.chains.get(tenant, ChainLink(tenant=tenant, sequence=1, previous_digest=None))
        is_audit = kind in (EntryKind.INTENT, EntryKind.VERDICT)
        sealed = prepared.seal(
            KEY,
            kind=kind,
            chain=link,
            entry_key=f"{kind}:{name}",
            audit_id=name if is_audit else None,
        )
        self.chains[tenant] = ChainLink(
            tenant=tenant, sequence=link.sequence + 1, previous_digest=sealed.entry_digest
        )
        self.pending.append(sealed)
        receipt = Receipt(log_index=self.size - 1, entry_digest=sealed.entry_digest)
        if len(self.pending) >= BATCH_ENTRIES:
            self.commit()
        return receipt

    def commit(self, *erasures: Erasure) -> None:
        """Append what is pending and publish a checkpoint of it."""
        hashes = [entry.leaf_hash for entry in self.pending]
        head, (edge, tiles) = grow(self.head, hashes), self.edge.grown(hashes)
        entries, now = tuple(self.pending), _time(self.size - 1)
        batch = LogBatch(
            previous=self.head, head=head, entries=entries, tiles=tiles, erasures=erasures
        )
        self.store.commit(batch, recorded_at=now)
        self.head, self.edge, self.pending = head, edge, []
        body = format_checkpoint_body(Checkpoint(origin=ORIGIN, size=head.size, root=head.root))
        note = sign_note(body, [LOG_SIGNER])
        self.store.save_checkpoint(
            StoredCheckpoint(size=head.size, root=head.root, note=note, issued_at=now)
        )


def _time(log_index: int) -> str:
    return (START + timedelta(seconds=log_index)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Layouts:
    """Statements of audits, canonical but for the marks, each laid out when first asked for."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[bytes, bytes]] = {}

    def intent(self, which: int, tenant: str, facts: Facts) -> Prepared:
        """Return the statement that announces an audit of an endpoint."""

        def build(link: ChainLink) -> JsonMembers:
            provider, model, _ = ENDPOINTS[which]
            return intent_statement(
                job(771177, tenant=tenant, provider=provider, model=model),
                policy_id="policy-1",
                calibration_id="tiny-bf16",
                announced_at=MARKS["time"],
                verifier_version=VERSION,
                chain=link,
            )

        return self._filled((which, tenant), build, tenant, facts)

    def verdict(self, which: int, outcome: Outcome, tenant: str, facts: Facts) -> Prepared:
        """Return the statement of an outcome at an endpoint."""

        def build(link: ChainLink) -> JsonMembers:
            provider, model, is_failing = ENDPOINTS[which]
            return build_statement(
                job(771177, tenant=tenant, provider=provider, model=model),
                _judged(which, outcome, is_failing=is_failing),
                verified_at=MARKS["time"],
                verifier_version=VERSION,
                chain=link,
                intent=Receipt(
                    log_index=int(MARKS["intent"]), entry_digest=f"sha256:{MARKS['intent_digest']}"
                ),
            )

        return self._filled((which, outcome, tenant), build, tenant, facts)

    def _filled(
        self, name: object, build: Callable[[ChainLink], JsonMembers], tenant: str, facts: Facts
    ) -> Prepared:
        layout = self._known.get(name)
        if layout is None:
            prepared = Prepared.of(build, tenant)
            layout = self._known[name] = _open_up(prepared.before), _open_up(prepared.after)
        before, after = layout
        return Prepared(before % facts, after % facts)


def _open_up(text: bytes) -> bytes:
    text = text.replace(b"%", b"%%")
    for name, mark in MARKS.items():
        text = text.replace(mark.encode(), b"%%(%b)b" % name.encode())
    return text


def _judged(which: int, outcome: Outcome, *, is_failing: bool) -> Verdict:
    evidence = float(MARKS["evidence"])
    found = replace(
        finding(int(MARKS["exchanges"]) - 1, evidence, stream=f"{which:x}"),
        outcome="FAIL" if is_failing else "PASS",
        num_tokens=100_000,
        failed_at_exchange=1 if is_failing else None,
    )
    judged = verdict(1, outcome, log10_e=float(MARKS["value"]))
    power = float(MARKS["power"])
    seen = judged.sensitivity and replace(
        judged.sensitivity,
        attacks=tuple(replace(attack, power=power) for attack in judged.sensitivity.attacks),
    )
    return replace(
        judged,
        sensitivity=seen,
        num_tokens=int(MARKS["tokens"]),
        num_matches=int(MARKS["matches"]),
        mean_clipped_margin_logits=-0.015,
        provider=found,
    )


def build_log(folder: Path, num_verdicts: int) -> None:
    """Build the log of so many verdicts."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = open_engine(f"sqlite:///{folder}/{DATABASE}")
    _build_fast(engine)
    upgrade(engine)
    builder = Builder(SqlLogStore(engine))
    builder.add(EntryKind.POLICY, "policy-1", Prepared.of(_policy, "default"), "default")
    _add_audits(builder, num_verdicts)
    _erase(builder)
    engine.dispose()
    (folder / TRUST_ROOT).write_bytes(trust_root())


def _build_fast(engine: Engine) -> None:
    def configure(connection: object, _record: object) -> None:
        # a log that a crash leaves behind is built again
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000"):
            connection.execute(f"PRAGMA {pragma}").close()  # type: ignore[attr-defined]

    event.listen(engine, "connect", configure)


def _policy(link: ChainLink) -> JsonMembers:
    return policy_statement(
        "policy-1",
        b"alpha = 0.0001\n",
        logged_at="2026-01-01T00:00:00Z",
        verifier_version=VERSION,
        chain=link,
    )


def _add_audits(builder: Builder, num_verdicts: int) -> None:
    layouts, number, counted = Layouts(), 0, 0
    while counted < num_verdicts:
        announced = []
        for audit in range(number, number + AHEAD):
            facts, tenant = _facts(audit), _tenant(audit)
            facts[b"time"] = builder.now().encode()
            prepared = layouts.intent(audit % len(ENDPOINTS), tenant, facts)
            intent = builder.add(EntryKind.INTENT, f"audit-{audit}", prepared, tenant)
            announced.append((audit, tenant, facts, intent))
        number += AHEAD
        for audit, tenant, facts, intent in announced:
            if audit % MISSING_EVERY == 7 or counted == num_verdicts:
                continue
            facts[b"time"] = builder.now().encode()
            facts[b"intent"] = b"%d" % intent.log_index
            facts[b"intent_digest"] = intent.entry_digest.removeprefix("sha256:").encode()
            prepared = layouts.verdict(audit % len(ENDPOINTS), _outcome(audit), tenant, facts)
            builder.add(EntryKind.VERDICT, f"audit-{audit}", prepared, tenant)
            counted += 1


def _tenant(audit: int) -> str:
    return ERASED_TENANT if audit % ERASED_EVERY == 3 else "default"


def _outcome(audit: int) -> Outcome:
    if audit % FAILED_EVERY == 4:
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE if audit % INCONCLUSIVE_EVERY == 2 else Outcome.PASS


def _facts(audit: int) -> Facts:
    """Return what fills the marks of an audit, apart from its intent and the time."""
    exchanges = audit // len(ENDPOINTS) + 1
    is_failing = ENDPOINTS[audit % len(ENDPOINTS)][2]
    observed = (START - timedelta(days=1) + timedelta(seconds=audit)).strftime("%Y-%m-%dT%H:%M:%SZ")
    evidence = 4.0 + exchanges * 0.0001 if is_failing else -0.0001 * (exchanges % 3000) - 0.00015
    num_tokens = 100 + audit % 407
    return {
        b"audit": b"audit-%d" % audit,
        b"request": b"request-%d" % audit,
        b"exchange": b"%064x" % audit,
        b"observed": observed.encode(),
        b"tokens": b"%d" % num_tokens,
        b"matches": b"%d" % (num_tokens - audit % 3),
        b"exchanges": b"%d" % exchanges,
        b"evidence": _number(evidence),
        b"value": _number(0.25 + audit % 9_973 / 10_000),
        b"power": _number(0.5 + audit % 4_999 / 10_000),
    }


def _number(value: float) -> bytes:
    return canonical({"": round(value, 5)})[4:-1]


def _erase(builder: Builder) -> None:
    builder.commit()
    erasure = Erasure(tenant=ERASED_TENANT, before=builder.now(), below_index=builder.size)
    num_entries = builder.store.count_erasable(erasure)

    def build(link: ChainLink) -> JsonMembers:
        return erasure_statement(
            erasure,
            num_entries=num_entries,
            logged_at=builder.now(),
            verifier_version=VERSION,
            chain=link,
        )

    prepared = Prepared.of(build, ERASED_TENANT)
    builder.add(EntryKind.ERASURE, f"{ERASED_TENANT}:{erasure.before}", prepared, ERASED_TENANT)
    builder.commit(erasure)
