"""`providers`: a table for people, every field for programs, advice where nothing is there."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from audit.errors import CorruptState
from audit.findings import NoiseEstimate
from audit.records import StoredStream
from storage.memory import InMemoryAuditStore
from tests.unit.cli.command import run
from tests.unit.service.examples import PASS, BrokenStore, memory_store, request_of, sign
from tests.unit.service.running import RunningService, running
from tests.unit.storage.builders import a_key, a_stream, complete


@pytest.fixture
def store() -> InMemoryAuditStore:
    return memory_store()


@pytest.fixture
def service(store: InMemoryAuditStore) -> Iterator[RunningService]:
    with running(store) as service:
        yield service


def keep(store: InMemoryAuditStore, stream: StoredStream) -> None:
    store.submit(request_of(stream.key.provider), "sha256:0")
    job = store.claim()
    assert job is not None
    complete(store, job, sign(job, PASS), stream)


def bad_stream() -> StoredStream:
    stream = a_stream(1, a_key("bad", endpoint=""))
    noise = NoiseEstimate(estimate_logits=0.5, low_logits=0.25, high_logits=1.0, confidence=0.95)
    finding = replace(
        stream.finding,
        outcome="FAIL",
        failed_at_exchange=1,
        log10_e_value=4.5,
        substituted_share_low=0.125,
        noise=noise,
    )
    return replace(stream, finding=finding)


def test_the_table_tells_each_provider_in_a_row(
    store: InMemoryAuditStore, service: RunningService
) -> None:
    keep(store, a_stream(1, a_key("[good]")))
    keep(store, bad_stream())
    done = run("providers", "--address", service.address)
    assert done.code == 0
    rows = done.stdout.splitlines()
    bad, good = (next(row for row in rows if row.startswith(name)) for name in ("bad", "[good]"))
    for cell in ("FAIL", "4.50", ">= 12.5%", "yes", "0.5 (0.25 to"):
        assert cell in bad
    for cell in ("PASS", "0.10", ">= 0.0%", "-0.25", "no", "0.01 (0.001"):
        assert cell in good


def test_the_lines_carry_every_field(store: InMemoryAuditStore, service: RunningService) -> None:
    keep(store, bad_stream())
    done = run("providers", "--json", "--address", service.address)
    assert done.code == 0
    assert done.lines == [
        {
            "provider": "bad",
            "endpoint": "",
            "model": "tiny",
            "model_digest": "sha256:" + "11" * 32,
            "calibration_id": "calibration-1",
            "policy_id": "policy-1",
            "stream_id": "sha256:bad",
            "outcome": "FAIL",
            "statement": "nothing was found",
            "num_exchanges": 1,
            "num_tokens": 10,
            "log10_e_value": 4.5,
            "log10_threshold": 3.0,
            "failed_at_exchange": 1,
            "substituted_share_low": 0.125,
            "num_tells": 0,
            "sticky_log10_e_value": -0.25,
            "noise": {
                "estimate_logits": 0.5,
                "low_logits": 0.25,
                "high_logits": 1.0,
                "confidence": 0.95,
            },
            "version": 1,
            "is_flagged": True,
            "fdr": 0.05,
        }
    ]


def test_providers_are_flagged_together_by_the_share_of_honest_ones_allowed(
    store: InMemoryAuditStore, service: RunningService
) -> None:
    keep(store, bad_stream())
    strict = run("providers", "--json", "--fdr", "0.00001", "--address", service.address)
    assert [line["is_flagged"] for line in strict.lines] == [False]
    assert run("providers", "--fdr", "0.9", "--address", service.address).code == 64


def test_without_evidence_it_says_how_to_get_some(service: RunningService) -> None:
    done = run("providers", "--address", service.address)
    assert done.code == 0
    assert "`submit` traffic first" in done.stdout
    assert run("providers", "--json", "--address", service.address).stdout == ""


def test_corrupt_evidence_is_told_with_its_remedy() -> None:
    error = CorruptState.of("sha256:" + "ab" * 32, "its finding is damaged")
    with running(BrokenStore(error)) as service:
        done = run("providers", "--address", service.address)
    assert (done.code, done.stdout) == (69, "")
    assert "DELETE FROM provider_streams" in done.stderr


def test_an_unreachable_service_says_how_to_start_it() -> None:
    done = run("providers", "--address", "127.0.0.1:1")
    assert done.code == 64
    assert "inference-audit serve" in done.stderr
