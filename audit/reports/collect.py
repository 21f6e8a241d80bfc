"""Reads a log once, in order, and gathers what a report says.

    source -> opening -> { chains, tallies, spool } -> figures -> Report

Nothing here grows with the number of verdicts; see `spool`. Entries that cannot be relied on are
listed and counted nowhere else.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from audit.errors import ConfigurationError, VerificationError
from audit.log_records import EntryKind
from audit.reports import members as m
from audit.reports.assemble import assemble
from audit.reports.chains import Chains
from audit.reports.gathered import Gathered
from audit.reports.key_events import KeyEvents
from audit.reports.keyring import KeyRing
from audit.reports.log_identity import identify
from audit.reports.opening import Opened, open_entry, read_leaf
from audit.reports.read_other import (
    read_erasure,
    read_key_event,
    read_meter,
    read_report,
    read_sweep,
    read_sweep_runs,
)
from audit.reports.read_verdict import claimed, read_runner, read_verdict
from audit.reports.records import (
    DamagedEntry,
    DiscountedEntry,
    Report,
    ReportScope,
    VerdictLine,
)
from audit.reports.source import EntrySource, SourceEntry, require_window
from audit.reports.spool import IntentRow, Spool
from audit.reports.tree_check import BrokenTree, TreeCheck

_MAX_STATEMENT_CHARACTERS = 4_096


def collect(
    source: EntrySource, scope: ReportScope, spool: Spool, *, control_mapping: str | None = None
) -> Report:
    """Return the report on a part of a log, its verdicts in a fresh spool.

    Raises: ConfigurationError for a scope that cannot be; VerificationError where the log's
    checkpoints or tiles do not verify, so that no report can rest on them.
    """
    window = require_window(scope.first_index, scope.end_index, source.checkpoint.size)
    scope = replace(scope, end_index=window)
    identity, keys = identify(source, scope.first_index)
    collector = _Collector(source, scope, spool, keys)
    for entry in source.entries(scope.first_index, window, scope.tenant):
        collector.take(entry)
    spool.finish()
    return assemble(
        source, scope, identity, collector.gathered, spool, control_mapping=control_mapping
    )


class _Collector:
    """Takes the entries one after the other."""

    def __init__(
        self, source: EntrySource, scope: ReportScope, spool: Spool, keys: KeyRing
    ) -> None:
        self.gathered = Gathered()
        self._scope = scope
        self._spool = spool
        self._keys = keys
        self._key_events = KeyEvents(keys)
        self._tree = TreeCheck(source.checkpoint, source.tile)
        self._chains = Chains(is_from_start=scope.first_index == 0, tenant=scope.tenant)
        self._window = _TimeWindow.of(scope)
        self._takers: dict[EntryKind, Callable[[Opened], None]] = {
            EntryKind.INTENT: self._take_intent,
            EntryKind.VERDICT: self._take_verdict,
            EntryKind.POLICY: self._take_policy,
            EntryKind.CALIBRATION: self._take_calibration,
            EntryKind.KEY_EVENT: self._take_key_event,
            EntryKind.ERASURE: lambda opened: self.gathered.erasures.append(read_erasure(opened)),
            EntryKind.REPORT: lambda opened: self.gathered.reports.add(read_report(opened)),
            EntryKind.BILLING: lambda opened: self.gathered.meters.add(read_meter(opened)),
            EntryKind.SWEEP_COMMITMENT: lambda opened: self.gathered.sweeps.add(read_sweep(opened)),
            EntryKind.SWEEP_RESULT: self._take_sweep_result,
        }

    def take(self, entry: SourceEntry) -> None:
        """Take the next entry."""
        self.gathered.num_entries += 1
        if entry.leaf_body is None:
            self.gathered.num_foreign += 1
            if self._scope.tenant is None:
                self._damage(entry, "", "it is withheld, though the report is of all tenants")
            return
        digest = ""
        try:
            if not self._tree.has_leaf(entry.log_index, entry.leaf_body):
                raise VerificationError("its leaf is not the one that the checkpoint signs")
            leaf = read_leaf(entry.leaf_body)
            digest = leaf.entry_digest
            if entry.envelope is None:
                self._take_gone(entry, digest)
                return
            self._take_opened(open_entry(entry, leaf, self._keys))
        except BrokenTree:
            raise
        except VerificationError as error:
            self._chains.skip(entry.stated_tenant, digest)
            self._damage(entry, digest, str(error))

    def _take_sweep_result(self, opened: Opened) -> None:
        for line in read_sweep_runs(opened):
            self.gathered.sweep_runs.add(line)

    def _damage(self, entry: SourceEntry, digest: str, problem: str) -> None:
        self.gathered.damaged.add(
            DamagedEntry(log_index=entry.log_index, entry_digest=digest, problem=problem)
        )

    def _take_gone(self, entry: SourceEntry, digest: str) -> None:
        self._chains.skip(entry.stated_tenant, digest)
        self._spool.add_gone(entry.log_index, digest, entry.stated_tenant, entry.stated_key)

    def _take_opened(self, opened: Opened) -> None:
        if opened.doubt is not None and not self._is_bygone_event(opened):
            self._discount(opened, opened.doubt)
            return
        # First what may refuse the entry: one that is refused is counted nowhere.
        self._takers[opened.kind](opened)
        gap = self._chains.follow(opened)
        if gap is not None:
            self.gathered.gaps.add(gap)
        self.gathered.keys.use(opened)
        self.gathered.latest.see(opened.signed_at)
        if opened.kind not in (EntryKind.INTENT, EntryKind.VERDICT):
            self.gathered.num_other_entries += 1

    def _is_bygone_event(self, opened: Opened) -> bool:
        return opened.kind is EntryKind.KEY_EVENT and self._key_events.counts(opened)

    def _discount(self, opened: Opened, problem: str) -> None:
        self._chains.skip(opened.tenant, opened.entry_digest)
        discounted = DiscountedEntry(
            log_index=opened.log_index,
            entry_digest=opened.entry_digest,
            kind=opened.kind.value,
            key_id=opened.key_id,
            problem=problem,
        )
        self.gathered.discount(discounted, is_verdict=opened.kind is EntryKind.VERDICT)

    def _take_key_event(self, opened: Opened) -> None:
        self.gathered.key_events.add(read_key_event(opened))
        self._key_events.follow(opened)

    def _take_intent(self, opened: Opened) -> None:
        is_in_scope = self._is_in_scope(opened, *claimed(opened.predicate))
        intent = IntentRow(
            log_index=opened.log_index,
            entry_digest=opened.entry_digest,
            audit_id=m.text(opened.predicate, "auditId"),
            tenant=opened.tenant,
            exchange_digest=opened.subject_digest,
            announced_at=opened.signed_at,
            is_in_scope=is_in_scope,
        )
        self._spool.add_intent(intent)
        self.gathered.num_intents += is_in_scope

    def _take_verdict(self, opened: Opened) -> None:
        line = read_verdict(opened)
        runner, stream = read_runner(opened.predicate), m.child(opened.predicate, "provider")
        announced_at, has_intent = self._answer(line)
        if not self._is_in_scope(opened, line.provider_name, line.claimed_model):
            self.gathered.num_outside += 1
            return
        self._spool.add_line(line, announced_at)
        if line.stream_id is not None:
            self._spool.set_stream(line.stream_id, line.log_index, _canonical(stream))
        self.gathered.see(line, has_intent=has_intent)
        if runner is not None:
            self.gathered.runners.use(runner)

    def _answer(self, line: VerdictLine) -> tuple[str | None, bool]:
        """Return when the audit was announced, and whether the verdict has an intent at all."""
        index = line.intent_index
        if index is None or index >= line.log_index:
            return None, False
        if index < self._scope.first_index:
            return None, True
        found = self._spool.find_intent(index)
        if found is None:
            # Its content may be gone; then its leaf still shows that it was there.
            return None, self._spool.is_gone(index, line.intent_digest)
        intent, verdict_index = found
        stated = (intent.entry_digest, intent.audit_id, intent.tenant, intent.exchange_digest)
        if stated != (line.intent_digest, line.audit_id, line.tenant, line.exchange_digest):
            raise VerificationError(f"the intent at index {index}, which it names, is of another")
        if verdict_index is not None:
            raise VerificationError(
                f"the intent at index {index} was answered at index {verdict_index} already"
            )
        self._spool.answer_intent(index, line.log_index)
        return intent.announced_at, True

    def _take_policy(self, opened: Opened) -> None:
        policy = m.child(opened.predicate, "policy")
        text = m.optional_text(policy, "text") or ""
        self.gathered.policies.enter(m.text(policy, "id"), opened, text[:_MAX_STATEMENT_CHARACTERS])

    def _take_calibration(self, opened: Opened) -> None:
        calibration = m.child(opened.predicate, "calibration")
        text = _canonical(calibration)[:_MAX_STATEMENT_CHARACTERS]
        self.gathered.calibrations.enter(m.text(calibration, "id"), opened, text)

    def _is_in_scope(self, opened: Opened, provider: str | None, model: str | None) -> bool:
        scope = self._scope
        return (
            scope.tenant in (None, opened.tenant)
            and scope.provider in (None, provider)
            and scope.model in (None, model)
            and self._window.contains(opened.signed_at)
        )


@dataclass(frozen=True, slots=True)
class _TimeWindow:
    since: datetime | None = field(default=None)
    until: datetime | None = field(default=None)

    @classmethod
    def of(cls, scope: ReportScope) -> "_TimeWindow":
        """Return the window of a scope. Raises: ConfigurationError for a time that is none."""
        try:
            since = None if scope.since is None else m.parse_time(scope.since, "since")
            until = None if scope.until is None else m.parse_time(scope.until, "until")
        except VerificationError as error:
            raise ConfigurationError(f"the report's window: {error}") from error
        if since is not None and until is not None and since > until:
            raise ConfigurationError("the report's window ends before it begins: exchange the two")
        return cls(since, until)

    def contains(self, stated: str) -> bool:
        """Return whether a time is in the window."""
        if self.since is None and self.until is None:
            return True
        time = m.parse_time(stated, "a time")
        is_late_enough = self.since is None or time >= self.since
        return is_late_enough and (self.until is None or time < self.until)


def _canonical(members: m.Members) -> str:
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
