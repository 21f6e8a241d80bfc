"""A report says what the log holds, and what it ought to hold and does not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.errors import ConfigurationError, VerificationError
from audit.ledger.reader import LogReader
from audit.ledger.statement import JsonMembers
from audit.log_records import EntryKind, LogEntry, Receipt, StoredCheckpoint
from audit.records import Outcome
from audit.reports.chains import Chains
from audit.reports.opening import Opened
from audit.reports.records import ContentState, Report, ReportScope
from audit.reports.source import LogSource
from tests.unit.reports.collecting import collected
from tests.unit.reports.sample_log import (
    OTHER_KEY,
    SampleLog,
    busy_log,
    finding,
    job,
    numbered,
    trust_root,
    verdict,
    verdict_key,
)


def report_on(log: SampleLog, folder: Path, scope: ReportScope | None = None) -> Report:
    return collected(log.source(), folder, scope or ReportScope())[0]


def test_every_verdict_is_a_line_and_the_totals_add_up(tmp_path: Path) -> None:
    log = busy_log(120)
    report, lines = collected(log.source(), tmp_path)
    assert [line.audit_id for line in lines] == [
        entry.audit_id
        for entry in LogReader(log.store).entries(0, log.size)
        if entry.kind is EntryKind.VERDICT
    ]
    totals = report.totals
    assert totals.num_entries == log.size == 241
    assert totals.num_verdicts == totals.num_intents == len(lines) == 120
    assert totals.num_passed + totals.num_failed + totals.num_inconclusive == 120
    assert totals.num_tokens == sum(line.num_tokens for line in lines)
    assert sum(line.num_verdicts for line in report.by_provider.lines) == 120
    assert sum(line.num_verdicts for line in report.by_day.lines) == 120
    assert report.is_complete
    counts = {(count.verdict, count.reason): count.num_verdicts for count in report.reasons}
    assert counts == {
        ("FAILED", "TOKEN_DIVERGENCE"): totals.num_failed,
        ("INCONCLUSIVE", "TOO_FEW_TOKENS"): totals.num_inconclusive,
        ("INCONCLUSIVE", "UNCALIBRATED"): totals.num_inconclusive,
    }


def test_a_line_holds_what_the_statement_says(tmp_path: Path) -> None:
    log = SampleLog()
    log.policy()
    log.audit(3, verdict(3, Outcome.FAIL, log10_e=5.5))
    _, (line,) = collected(log.source(), tmp_path)
    assert (line.log_index, line.audit_id, line.request_id) == (2, "audit-3", "request-3")
    assert (line.tenant, line.tenant_sequence, line.verdict) == ("default", 3, "FAILED")
    assert line.exchange_digest == f"sha256:{3:064x}"
    assert (line.intent_index, line.intent_announced_at) == (1, "2026-01-01T00:00:01.000000Z")
    assert line.verified_at == "2026-01-01T00:00:02.000000Z"
    assert line.observed_at == "2025-12-31T23:00:00Z"
    assert (line.provider_name, line.claimed_model) == ("Example AI", "example/tiny-8b")
    assert (line.reasons, line.details) == (("TOKEN_DIVERGENCE",), ("Ask again.",))
    assert line.statistics[0].value == 5.5
    assert (line.false_alarm_rate, line.log10_e_value) == (0.0001, 5.5)
    assert (line.noise_logits, line.noise_high_logits) == (0.02, None)
    assert [attack.num_tokens_needed for attack in line.attacks] == [400, None]
    assert (line.stream_verdict, line.stream_num_exchanges) == ("FAILED", 4)
    assert line.key_id == log.key.key_id


def test_an_intent_without_a_verdict_is_missing(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    dropped = log.intent(job(1))
    log.audit(2)
    report = report_on(log, tmp_path)
    (missing,) = report.missing.items
    assert (missing.log_index, missing.audit_id) == (dropped.log_index, "audit-1")
    assert missing.entry_digest == dropped.entry_digest
    assert missing.exchange_digest == f"sha256:{1:064x}"
    assert not report.is_complete


def test_more_missing_verdicts_than_are_listed_are_still_counted(tmp_path: Path) -> None:
    log = SampleLog()
    for number in range(230):
        log.intent(job(number))
    report = report_on(log, tmp_path)
    assert (report.missing.total, len(report.missing.items)) == (230, 200)
    assert report.missing.num_unlisted == 30


def test_a_deleted_verdict_is_missing(tmp_path: Path) -> None:
    log = SampleLog()
    receipts = list(numbered(log, 3))
    log.lose(receipts[1].log_index)
    report, lines = collected(log.source(), tmp_path)
    (gone,) = report.gone.items
    assert (gone.log_index, gone.state) == (3, ContentState.MISSING)
    assert gone.entry_digest == receipts[1].entry_digest
    assert gone.stated_key == "verdict:audit-1"
    assert [missing.audit_id for missing in report.missing.items] == ["audit-1"]
    assert [line.audit_id for line in lines] == ["audit-0", "audit-2"]
    # its leaf still stands in the chain: nothing else is wrong
    assert report.gaps.total == report.damaged.total == report.erased.total == 0


def test_erased_content_is_erased_and_not_missing(tmp_path: Path) -> None:
    log = SampleLog()
    list(numbered(log, 3))
    erasure = log.erase(4, 0, 1)
    report = report_on(log, tmp_path)
    assert [gone.log_index for gone in report.erased.items] == [0, 1]
    assert {gone.state for gone in report.erased.items} == {ContentState.ERASED}
    assert {gone.erasure_index for gone in report.erased.items} == {erasure.log_index}
    (line,) = report.erasures.items
    assert (line.num_stated, line.num_seen, line.below_index) == (2, 2, 4)
    assert report.is_complete
    assert report.totals.num_without_intent == 0


@pytest.mark.parametrize("lost", [4, 5])
def test_content_that_no_erasure_covers_stays_missing(tmp_path: Path, lost: int) -> None:
    log = SampleLog()
    list(numbered(log, 3))
    log.erase(4, 0, 1)
    log.lose(lost)
    report = report_on(log, tmp_path)
    assert [gone.log_index for gone in report.gone.items] == [lost]
    assert report.erased.total == 2


def test_more_gone_than_the_erasures_state_is_told(tmp_path: Path) -> None:
    log = SampleLog()
    list(numbered(log, 3))
    log.erase(6, 0, 1, 2, stated=2)
    (damaged,) = report_on(log, tmp_path).damaged.items
    assert "state 2 erased entries, but 3 are gone" in damaged.problem


def test_an_erasure_excuses_no_lost_policy(tmp_path: Path) -> None:
    log = SampleLog()
    log.policy()
    log.audit(0)
    log.erase(3, 0, 1, 2, stated=3)
    report = report_on(log, tmp_path)
    assert [gone.log_index for gone in report.gone.items] == [0]


def _flip(entry: LogEntry) -> LogEntry:
    envelope = bytearray(entry.envelope or b"")
    envelope[40] ^= 1
    return replace(entry, envelope=bytes(envelope))


def _swap_payload(entry: LogEntry) -> LogEntry:
    outer = json.loads(entry.envelope or b"")
    outer["payload"] = outer["payload"][:-8] + "AAAAfQ=="
    return replace(entry, envelope=json.dumps(outer).encode())


def _no_signature(entry: LogEntry) -> LogEntry:
    outer = json.loads(entry.envelope or b"")
    return replace(entry, envelope=json.dumps(outer | {"signatures": []}).encode())


def _other_type(entry: LogEntry) -> LogEntry:
    outer = json.loads(entry.envelope or b"")
    return replace(entry, envelope=json.dumps(outer | {"payloadType": "text/plain"}).encode())


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (_flip, "its envelope is not the one that its leaf names"),
        (_swap_payload, "its envelope is not the one that its leaf names"),
        (_no_signature, "its envelope has not exactly one signature"),
        (_other_type, "its payload type is 'text/plain'"),
        (lambda e: replace(e, envelope=b"{"), "its envelope is not strict JSON"),
        (lambda e: replace(e, envelope=b""), "its envelope is not strict JSON"),
        (lambda e: replace(e, envelope=b" " * 1_048_577), "larger than 1048576 bytes"),
        (lambda e: replace(e, leaf_body=e.leaf_body + b" "), "its leaf is not the one that the"),
        (lambda e: replace(e, tenant="other"), "files it under tenant 'other', but it was signed"),
    ],
)
def test_a_damaged_entry_is_never_a_verdict(
    tmp_path: Path, how: Callable[[LogEntry], LogEntry], problem: str
) -> None:
    log = SampleLog()
    list(numbered(log, 3))
    log.change(3, how)
    report, lines = collected(log.source(), tmp_path)
    (damaged,) = report.damaged.items
    assert damaged.log_index == 3
    assert problem in damaged.problem
    assert [line.audit_id for line in lines] == ["audit-0", "audit-2"]
    assert [missing.audit_id for missing in report.missing.items] == ["audit-1"]
    assert not report.is_complete


def test_a_key_that_the_trust_root_does_not_know_signs_nothing(tmp_path: Path) -> None:
    log = SampleLog(key=OTHER_KEY)
    log.audit(0)
    report, lines = collected(log.source(), tmp_path)
    assert lines == []
    assert report.damaged.total == 2
    assert "the trust root does not know its key" in report.damaged.items[0].problem


def test_a_key_counts_only_between_its_indexes(tmp_path: Path) -> None:
    log = SampleLog()
    list(numbered(log, 3))
    key = replace(verdict_key(), from_index=2, below_index=4)
    report, lines = collected(log.source(trust_root(keys=(key,))), tmp_path)
    assert [line.log_index for line in lines] == [3]
    assert [entry.log_index for entry in report.discounted.items] == [0, 1, 4, 5]
    assert "does not count at this index" in report.discounted.items[0].problem
    assert report.damaged.total == 0


def test_after_a_compromise_only_what_witnesses_saw_before_counts(tmp_path: Path) -> None:
    log = SampleLog()
    list(numbered(log, 2))
    log.publish(witnesses=2)
    list(numbered(log, 0))
    log.audit(7)
    log.publish(witnesses=2)
    key = replace(verdict_key(), below_index=100, compromised_at="2026-01-01T00:00:05Z")
    report, lines = collected(log.source(trust_root(quorum="two", keys=(key,))), tmp_path)
    # the first checkpoint was cosigned four seconds after the start, the last six
    assert [line.log_index for line in lines] == [1, 3]
    assert [entry.log_index for entry in report.discounted.items] == [4, 5]
    assert "no checkpoint of this report shows" in report.discounted.items[0].problem


def test_a_gap_in_a_tenants_numbers_is_told(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    audited = job(1)
    log.verdict(audited, verdict(1), log.intent(audited), skip=2)
    (gap,) = report_on(log, tmp_path).gaps.items
    assert (gap.tenant, gap.after_sequence, gap.next_sequence, gap.at_index) == ("default", 3, 6, 3)
    assert gap.num_unexplained == 2
    assert "2 entries of this tenant are not in the log" in gap.problem


def _opened(sequence: int, digest: str, previous: str | None) -> Opened:
    return Opened(
        log_index=sequence,
        kind=EntryKind.INTENT,
        entry_digest=digest,
        subject_digest="",
        tenant="default",
        sequence=sequence,
        previous_digest=previous,
        signed_at="",
        key_id="",
        predicate={},
    )


def test_two_entries_in_one_place_and_a_wrong_predecessor_are_told() -> None:
    # the log's own constraints refuse both, so they are shown to the chain by hand
    chains = Chains(is_from_start=True, tenant=None)
    assert chains.follow(_opened(1, "a", None)) is None
    assert chains.follow(_opened(2, "b", "a")) is None
    back = chains.follow(_opened(2, "c", "a"))
    assert back is not None
    assert "two entries claim one place" in back.problem
    assert chains.follow(_opened(3, "d", "c")) is None
    torn = chains.follow(_opened(4, "e", "c"))
    assert torn is not None
    assert "names another one as the one before" in torn.problem


def test_a_chain_that_begins_before_the_window_is_followed_from_there() -> None:
    chains = Chains(is_from_start=False, tenant=None)
    assert chains.follow(_opened(7, "g", "f")) is None
    gap = chains.follow(_opened(9, "i", "h"))
    assert gap is not None
    assert (gap.after_sequence, gap.num_unexplained) == (7, 1)


def test_a_second_verdict_for_one_intent_does_not_count(tmp_path: Path) -> None:
    log = SampleLog()
    audited = job(0)
    intent = log.intent(audited)
    log.verdict(audited, verdict(0, Outcome.FAIL), intent)
    log.verdict(audited, verdict(0), intent, key="verdict:again")
    report, lines = collected(log.source(), tmp_path)
    assert [line.verdict for line in lines] == ["FAILED"]
    assert "was answered at index 1 already" in report.damaged.items[0].problem


def test_a_verdict_for_another_audits_intent_does_not_count(tmp_path: Path) -> None:
    log = SampleLog()
    intent = log.intent(job(0))
    log.verdict(job(1), verdict(1), intent)
    report = report_on(log, tmp_path)
    assert "the intent at index 0, which it names, is of another" in report.damaged.items[0].problem
    assert report.missing.total == 1


@pytest.mark.parametrize("intent", [None, Receipt(log_index=9, entry_digest="sha256:" + "0" * 64)])
def test_a_verdict_without_an_intent_is_counted_as_such(
    tmp_path: Path, intent: Receipt | None
) -> None:
    log = SampleLog()
    log.policy()
    log.verdict(job(0), verdict(0), intent)
    report = report_on(log, tmp_path)
    assert (report.totals.num_verdicts, report.totals.num_without_intent) == (1, 1)


@pytest.mark.parametrize("size", [0, 1])
def test_an_empty_window_is_a_report_too(tmp_path: Path, size: int) -> None:
    log = SampleLog()
    if size:
        log.policy()
    report, lines = collected(log.source(), tmp_path, ReportScope(first_index=size))
    assert lines == []
    assert report.totals.num_verdicts == report.totals.num_entries == 0
    assert report.standings.total == 0
    assert report.as_of == log.now()
    assert report.error.any_false_alarm_bound == 0.0
    assert report.limits.figures[0].median is None


def test_scopes_choose_verdicts_and_their_intents(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    log.audit(1, provider="Sub Ltd")
    log.audit(2, model="example/other")
    log.intent(job(3, provider="Sub Ltd"))
    cases = [
        (ReportScope(provider="Example AI"), ["audit-0", "audit-2"], 0),
        (ReportScope(provider="Sub Ltd"), ["audit-1"], 1),
        (ReportScope(model="example/other"), ["audit-2"], 0),
        (ReportScope(since="2026-01-01T00:00:03Z"), ["audit-1", "audit-2"], 1),
        (ReportScope(until="2026-01-01T00:00:03Z"), ["audit-0"], 0),
        (ReportScope(since="2026-01-01T00:00:03.0Z", until="2026-01-01T00:00:04Z"), ["audit-1"], 0),
        (ReportScope(first_index=2, end_index=4), ["audit-1"], 0),
    ]
    for number, (scope, expected, num_missing) in enumerate(cases):
        report, lines = collected(log.source(), tmp_path / str(number), scope)
        assert [line.audit_id for line in lines] == expected, scope
        assert report.missing.total == num_missing, scope
        assert report.totals.num_verdicts + report.totals.num_outside == (
            1 if scope.first_index else 3
        )


def test_a_verdict_after_the_window_still_answers_an_intent_in_it(tmp_path: Path) -> None:
    log = SampleLog()
    audited = job(0)
    intent = log.intent(audited)
    log.policy()
    log.verdict(audited, verdict(0), intent)
    report = report_on(log, tmp_path, ReportScope(until="2026-01-01T00:00:01Z"))
    assert (report.totals.num_intents, report.totals.num_verdicts) == (1, 0)
    assert report.missing.total == 0


def test_one_tenants_report_opens_nothing_of_the_others(tmp_path: Path) -> None:
    log = SampleLog()
    log.policy()
    log.audit(0, tenant="acme")
    log.audit(1, tenant="other")
    log.audit(2, tenant="acme")
    source = log.source()
    report, lines = collected(source, tmp_path, ReportScope(tenant="acme"))
    assert [line.audit_id for line in lines] == ["audit-0", "audit-2"]
    assert (report.totals.num_foreign, report.totals.num_other_entries) == (2, 1)
    assert report.is_complete
    foreign = [entry for entry in source.entries(0, log.size, "acme") if entry.is_foreign]
    assert [(entry.leaf_body, entry.envelope, entry.stated_key) for entry in foreign] == [
        (None, None, "")
    ] * 2


def test_an_entry_hidden_as_another_tenants_leaves_a_gap(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0, tenant="acme")
    log.audit(1, tenant="acme")
    log.audit(2, tenant="acme")
    log.change(3, lambda entry: replace(entry, tenant="other"))
    report = report_on(log, tmp_path, ReportScope(tenant="acme"))
    (gap,) = report.gaps.items
    assert (gap.at_index, gap.num_unexplained) == (4, 1)
    assert [missing.audit_id for missing in report.missing.items] == ["audit-1"]


def test_the_evidence_over_time_is_binned_and_bounded(tmp_path: Path) -> None:
    log = busy_log(600)
    report, lines = collected(log.source(), tmp_path)
    assert report.standings.total == 2
    worst = report.standings.items[0]
    assert (worst.provider_name, worst.verdict) == ("Sub Ltd", "FAILED")
    of_worst = [line for line in lines if line.stream_id == worst.stream_id]
    assert len(worst.points) <= 200
    assert sum(point.num_verdicts for point in worst.points) == len(of_worst) == worst.num_verdicts
    assert worst.points[0].first_index == of_worst[0].log_index
    assert worst.points[-1].last_index == of_worst[-1].log_index == worst.last_index
    first = next(line for line in of_worst if line.stream_verdict == "FAILED")
    assert (worst.failed_at_index, worst.failed_at) == (first.log_index, first.verified_at)
    peak = max(line.stream_log10_e_value or 0.0 for line in of_worst)
    assert max(point.max_log10_e_value for point in worst.points) == peak


def test_names_beyond_the_table_are_summed_openly(tmp_path: Path) -> None:
    log = SampleLog()
    for number in range(60):
        log.audit(number, provider=f"provider-{number:02}")
    log.audit(60, provider=None)
    table = report_on(log, tmp_path).by_provider
    assert (len(table.lines), table.num_labels) == (50, 61)
    assert table.others is not None
    assert (table.others.label, table.others.num_verdicts) == ("(others)", 11)
    assert table.lines[0].label == "(not stated)"


def test_policies_are_listed_with_what_rests_on_them(tmp_path: Path) -> None:
    log = SampleLog()
    log.policy()
    log.audit(0)
    log.policy("policy-2", b"alpha = 0.01\n")
    log.audit(1, replace(verdict(1), policy_id="policy-2"))
    log.audit(2, replace(verdict(2), policy_id="never-logged"))
    policies = report_on(log, tmp_path).policies.items
    assert [(use.source_id, use.log_index, use.num_verdicts) for use in policies] == [
        ("policy-1", 0, 1),
        ("policy-2", 3, 1),
        ("never-logged", None, 1),
    ]
    assert policies[1].statement == "alpha = 0.01\n"
    assert [use.is_logged for use in policies] == [True, True, False]


def test_witnesses_and_quorum_are_told(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    log.publish(witnesses=2)
    source = LogSource(LogReader(log.store), trust_root(quorum="two"), is_witnessed=True)
    report, _ = collected(source, tmp_path)
    assert report.log.is_quorum_met
    assert report.log.quorum == "2 of (w1, w2, w3)"
    assert [(w.name, w.cosigned_at) for w in report.log.witnesses] == [
        ("w1", "2026-01-01T00:00:02Z"),
        ("w2", "2026-01-01T00:00:02Z"),
        ("w3", None),
    ]
    assert report.as_of == "2026-01-01T00:00:02Z"


def test_a_log_without_a_witness_policy_has_no_witnessed_report(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    log.publish(witnesses=2)
    with pytest.raises(ConfigurationError, match=r"the log has no witness policy .*`quorum none`"):
        LogSource(LogReader(log.store), trust_root(), is_witnessed=True)


def test_a_chosen_exchange_comes_with_its_evidence_per_token(tmp_path: Path) -> None:
    log = SampleLog()
    artifact = log.keep_tokens(b'{"rank":[0,1]}')
    audited = job(0)
    log.verdict(audited, verdict(0), log.intent(audited), evidence=(artifact,))
    lost = log.keep_tokens(b'{"rank":[0,2]}')
    other = job(1)
    log.verdict(other, verdict(1), log.intent(other), evidence=(lost,))
    log.audit(2)
    log.store.artifacts[lost.digest] = replace(lost, content=b"{}")
    scope = ReportScope(exchanges=("audit-0", "audit-1", "audit-2", "audit-9"))
    shown = report_on(log, tmp_path, scope).exchanges
    assert (shown[0].tokens, shown[0].problem) == (artifact.content, None)
    assert shown[1].problem == "the evidence per token is not what the verdict names"
    assert shown[2].problem == "the verdict names no evidence per token"
    assert shown[3].problem == "no verdict of this audit is in the report's scope"


def test_a_log_whose_tiles_are_not_the_signed_tree_gives_no_report(tmp_path: Path) -> None:
    log = busy_log(300)
    source = log.source()
    for level, name in ((0, "tile 0/0 of the log is not"), (1, "the tiles of the log give the")):
        hashes = log.store.read_tile(level, 0)
        assert hashes is not None
        broken = bytes([hashes[0] ^ 1]) + hashes[1:]
        log.store._log.tiles[level, 0] = broken
        with pytest.raises(VerificationError, match=name):
            collected(source, tmp_path / str(level))
        log.store._log.tiles[level, 0] = hashes


def test_a_checkpoint_that_is_not_the_logs_gives_no_report(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    source = log.source()
    held: StoredCheckpoint = source.checkpoint
    source._checkpoint = replace(held, root=bytes(32))
    with pytest.raises(VerificationError, match="names another tree"):
        collected(source, tmp_path / "a")
    source._checkpoint = replace(held, note=held.note.replace(b"log.test", b"log.best"))
    with pytest.raises(VerificationError, match="no known key has signed"):
        collected(source, tmp_path / "b")


def test_scopes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    cases = [
        (ReportScope(first_index=3), "from index 3 to 2 does not lie in the log of 2 entries"),
        (ReportScope(end_index=3), "from index 0 to 3 does not lie in the log of 2 entries"),
        (ReportScope(since="yesterday"), "since is not a time such as"),
        (ReportScope(until="2026-01-01T00:00:00+01:00"), "until is not a time such as"),
        (ReportScope(since="2026-01-02T00:00:00Z", until="2026-01-01T00:00:00Z"), "ends before it"),
    ]
    for number, (scope, problem) in enumerate(cases):
        with pytest.raises(ConfigurationError, match=problem):
            collected(log.source(), tmp_path / str(number), scope)


def test_a_hole_in_the_entries_gives_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SampleLog()
    log.audit(0)
    source = log.source()
    page = log.store.read_entries(1, 2)
    monkeypatch.setattr(LogReader, "entries", lambda *_: iter(page))
    with pytest.raises(VerificationError, match="the log has no entry 0"):
        collected(source, tmp_path)


def test_a_malformed_statement_is_damaged_not_fatal(tmp_path: Path) -> None:
    log = SampleLog()
    audited = job(0)
    intent = log.intent(audited)
    broken = replace(verdict(0), provider=replace(finding(0, 1.0), stream_id=""))
    log.verdict(audited, broken, intent)
    report = report_on(log, tmp_path)
    assert report.totals.num_verdicts == 1
    log.add(EntryKind.VERDICT, "verdict:odd", lambda link: _odd(link.tenant, link.sequence))
    assert "is not" in report_on(log, tmp_path / "2").damaged.items[0].problem


def _odd(tenant: str, sequence: int) -> JsonMembers:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "exchange", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://inference-audit.dev/inference-verdict/v0.1",
        "predicate": {
            "verdict": "PASSED",
            "numTokens": "many",
            "auditId": "odd",
            "requestId": "odd",
            "verifiedAt": "2026-01-01T00:00:00Z",
            "verifier": {"id": "inference-audit", "version": "0"},
            "chain": {"tenant": tenant, "sequence": sequence, "previous": None},
        },
    }
