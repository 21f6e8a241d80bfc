"""What the auditor says, signed and handed to the sequencer: the `Ledger` port.

Every kind of entry has one method here. Statements are built in `statement` and `entries`; nothing
is signed before the sequencer has given the entry its place in the tenant's chain.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from audit.billing_records import StoredAccount
from audit.errors import InvalidRequest
from audit.ledger import entries
from audit.ledger.billing_statement import billing_statement
from audit.ledger.evidence import tokens_artifact
from audit.ledger.seal import Prepared
from audit.ledger.sequencer import Draft, Sequencer
from audit.ledger.signers import Signer
from audit.ledger.statement import JsonMembers, build_statement
from audit.ledger.sweep_statement import sweep_result_statement
from audit.log_records import (
    Artifact,
    ChainLink,
    EntryKind,
    Erasure,
    JobEnd,
    Receipt,
    SealedEntry,
)
from audit.ports import Clock
from audit.records import Examination, Job, SignedVerdict, StoredStream, Verdict
from audit.sweep_records import SweepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Signs with one key and logs through one sequencer."""

    sequencer: Sequencer
    signer: Signer
    clock: Clock
    version: str
    tenant: str
    """Whose entries those are that belong to no audit: policies, keys, reports."""
    policy_id: str | None = None
    calibration_id: str | None = None
    timeout_s: float | None = None
    """How long a receipt is waited for; None waits for as long as it takes."""

    def announce(self, job: Job) -> Receipt:
        """Log the intent to run an audit; once only, however often it is tried.

        Raises: StorageError, LogForked.
        """

        def build(link: ChainLink) -> JsonMembers:
            return entries.intent_statement(
                job,
                policy_id=self.policy_id,
                calibration_id=self.calibration_id,
                announced_at=self.clock(),
                verifier_version=self.version,
                chain=link,
            )

        return self._log(EntryKind.INTENT, job.audit_id, build, tenant=job.tenant, audit=job)

    def conclude(
        self, job: Job, examination: Examination, stream: StoredStream | None, intent: Receipt
    ) -> Receipt:
        """Sign and log a verdict and end its job, in one transaction with the provider's evidence.

        Raises: StreamMoved, AuditNotFound, StorageError, LogForked.
        """
        return self.hand_over(job, examination, stream, intent).result(self.timeout_s)

    def hand_over(
        self, job: Job, examination: Examination, stream: StoredStream | None, intent: Receipt
    ) -> "Future[Receipt]":
        """Return at once what `conclude` waits for; for callers with many audits in hand."""
        artifacts = _artifacts(examination)
        verdict = examination.verdict
        if stream is not None:
            verdict = replace(verdict, provider=stream.finding)

        def build(link: ChainLink) -> JsonMembers:
            return build_statement(
                job,
                verdict,
                verified_at=self.clock(),
                verifier_version=self.version,
                chain=link,
                intent=intent,
                evidence=artifacts,
            )

        def end(sealed: SealedEntry) -> JobEnd:
            return JobEnd(
                job=job,
                signed=self._signed(verdict, sealed),
                stream=stream,
                artifacts=artifacts,
            )

        return self._begin(
            EntryKind.VERDICT, job.audit_id, build, tenant=job.tenant, audit=job, end=end
        )

    def log_policy(self, policy_id: str, content: bytes) -> Receipt:
        """Log a policy with its text. Raises: StorageError, LogForked."""

        def build(link: ChainLink) -> JsonMembers:
            return entries.policy_statement(
                policy_id,
                content,
                logged_at=self.clock(),
                verifier_version=self.version,
                chain=link,
            )

        return self._log(EntryKind.POLICY, policy_id, build)

    def log_calibration(self, calibration_id: str, content: bytes) -> Receipt:
        """Log which calibration is used, by its file's digest. Raises: StorageError, LogForked."""

        def build(link: ChainLink) -> JsonMembers:
            return entries.calibration_statement(
                calibration_id,
                content,
                logged_at=self.clock(),
                verifier_version=self.version,
                chain=link,
            )

        return self._log(EntryKind.CALIBRATION, calibration_id, build)

    def log_key_event(self, event: entries.KeyEvent) -> Receipt:
        """Log that a verdict key is introduced, retired or revoked. Raises: StorageError."""

        def build(link: ChainLink) -> JsonMembers:
            return entries.key_event_statement(
                event, logged_at=self.clock(), verifier_version=self.version, chain=link
            )

        return self._log(EntryKind.KEY_EVENT, f"{event.key_id}:{event.action}", build, short="key")

    def log_report(self, manifest: bytes, *, tenant: str | None = None) -> Receipt:
        """Log a report by its manifest's digest. Raises: StorageError, LogForked."""
        digest = hashlib.sha256(manifest).hexdigest()

        def build(link: ChainLink) -> JsonMembers:
            return entries.report_statement(
                manifest, logged_at=self.clock(), verifier_version=self.version, chain=link
            )

        return self._log(EntryKind.REPORT, digest, build, tenant=tenant)

    def log_commitment(
        self, sweep_id: str, commitment: str, *, tenant: str | None = None
    ) -> Receipt:
        """Log what a run of a sweep commits itself to before it starts; once for each id.

        Raises: StorageError, LogForked.
        """

        def build(link: ChainLink) -> JsonMembers:
            return entries.sweep_commitment_statement(
                sweep_id,
                commitment,
                logged_at=self.clock(),
                verifier_version=self.version,
                chain=link,
            )

        return self._log(EntryKind.SWEEP_COMMITMENT, sweep_id, build, tenant=tenant, short="sweep")

    def log_sweep_result(self, result: SweepResult) -> Receipt:
        """Log what a run of a sweep concluded; once for each run.

        Raises: StorageError, LogForked.
        """

        def build(link: ChainLink) -> JsonMembers:
            return sweep_result_statement(
                result, logged_at=self.clock(), verifier_version=self.version, chain=link
            )

        return self._log(EntryKind.SWEEP_RESULT, result.run_id, build, tenant=result.tenant)

    def log_billing(self, account: StoredAccount) -> Receipt:
        """Log what is found about an account so far; once for each of its versions.

        Raises: StorageError, LogForked.
        """

        def build(link: ChainLink) -> JsonMembers:
            return billing_statement(
                account, logged_at=self.clock(), verifier_version=self.version, chain=link
            )

        name = f"{account.finding.finding_id}:{account.version}"
        return self._log(EntryKind.BILLING, name, build, tenant=account.key.tenant)

    def erase(self, erasure: Erasure, num_entries: int) -> Receipt:
        """Log an erasure and carry it out, in one transaction. Raises: StorageError, LogForked."""
        if num_entries < 1:
            raise InvalidRequest.of("before", "nothing of this tenant is that old")

        def build(link: ChainLink) -> JsonMembers:
            return entries.erasure_statement(
                erasure,
                num_entries=num_entries,
                logged_at=self.clock(),
                verifier_version=self.version,
                chain=link,
            )

        return self._log(
            EntryKind.ERASURE,
            f"{erasure.tenant}:{erasure.before}",
            build,
            tenant=erasure.tenant,
            erasure=erasure,
        )

    def _signed(self, verdict: Verdict, sealed: SealedEntry) -> SignedVerdict:
        return SignedVerdict(verdict=verdict, envelope=sealed.envelope, key_id=self.signer.key_id)

    def _log(
        self,
        kind: EntryKind,
        name: str,
        build: Callable[[ChainLink], JsonMembers],
        *,
        tenant: str | None = None,
        audit: Job | None = None,
        short: str | None = None,
        erasure: Erasure | None = None,
    ) -> Receipt:
        begun = self._begin(
            kind, name, build, tenant=tenant, audit=audit, short=short, erasure=erasure
        )
        return begun.result(self.timeout_s)

    def _begin(
        self,
        kind: EntryKind,
        name: str,
        build: Callable[[ChainLink], JsonMembers],
        *,
        tenant: str | None = None,
        audit: Job | None = None,
        short: str | None = None,
        end: Callable[[SealedEntry], JobEnd] | None = None,
        erasure: Erasure | None = None,
    ) -> "Future[Receipt]":
        entry_key = f"{short or kind}:{name}"

        # in this thread, so that the sequencer has little left to do in order
        prepared = Prepared.of(build, tenant or self.tenant)

        def sealed(link: ChainLink) -> SealedEntry:
            return prepared.seal(
                self.signer,
                kind=kind,
                chain=link,
                entry_key=entry_key,
                audit_id=None if audit is None else audit.audit_id,
            )

        draft = Draft(
            kind=kind,
            tenant=tenant or self.tenant,
            entry_key=entry_key,
            seal=sealed,
            end=end,
            erasure=erasure,
        )
        return self.sequencer.append(draft)


def _artifacts(examination: Examination) -> tuple[Artifact, ...]:
    evidence = examination.evidence
    return () if evidence is None else (tokens_artifact(evidence),)
