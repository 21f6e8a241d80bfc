"""A provider's evidence adds up over exchanges, and over the death of the service in between."""

from dataclasses import replace
from pathlib import Path

import pytest

from audit.client.client import AuditClient
from audit.codec.wire_provider import ProviderView
from audit.ledger.verify import verify_envelope
from audit.records import AuditRequest, AuditState
from tests.integration.processes import CALIBRATION, ServeProcess
from tests.integration.traffic import HONEST, requests_of
from tests.support.example_model import TRAFFIC

NUM_EXCHANGES = 4
CHEAT = TRAFFIC / "cheat-4bit.jsonl"


def from_provider(request: AuditRequest, name: str) -> AuditRequest:
    """Return the exchange as one of a named provider."""
    exchange = request.exchange
    provider = replace(exchange.provider, provider=name, endpoint=None)
    return replace(request, exchange=replace(exchange, provider=provider))


def audit_all(process: ServeProcess, requests: list[AuditRequest]) -> list[ProviderView]:
    """Submit, wait for the verdicts, and return what is known of the providers then."""
    key = process.public_key.read_bytes()
    with AuditClient(process.address) as client:
        for audit in [client.submit(request) for request in requests]:
            done = next(a for a in client.watch(audit.audit_id) if a.state is AuditState.DONE)
            assert done.signed is not None and done.signed.verdict.provider is not None
            predicate = verify_envelope(done.signed.envelope, key)["predicate"]
            assert isinstance(predicate, dict) and "provider" in predicate
        return list(client.list_providers())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[list[ProviderView]]:
    """Return the providers after each of two lives of a service on one database."""
    folder: Path = tmp_path_factory.mktemp("provider")
    bad = [from_provider(r, "bad") for r in requests_of(CHEAT)[: 2 * NUM_EXCHANGES]]
    good = [from_provider(r, "good") for r in requests_of(HONEST)[: 2 * NUM_EXCHANGES]]
    found = []
    for start in (0, NUM_EXCHANGES):
        part = slice(start, start + NUM_EXCHANGES)
        with ServeProcess(folder, "--calibration", CALIBRATION, "--no-diagnose") as process:
            found.append(audit_all(process, [*bad[part], *good[part]]))
            process.kill()
    return found


def finding_of(providers: list[ProviderView], name: str) -> ProviderView:
    (view,) = [p for p in providers if p.key.provider == name]
    return view


def test_evidence_goes_on_where_it_stopped(seen: list[list[ProviderView]]) -> None:
    for name in ("bad", "good"):
        first, second = (finding_of(providers, name) for providers in seen)
        assert first.key == second.key
        assert first.finding.num_exchanges == NUM_EXCHANGES
        assert second.finding.num_exchanges == 2 * NUM_EXCHANGES
        assert second.version == 2 * NUM_EXCHANGES


def test_a_little_in_each_exchange_fails_the_provider(seen: list[list[ProviderView]]) -> None:
    bad, good = finding_of(seen[-1], "bad").finding, finding_of(seen[-1], "good").finding
    assert bad.outcome == "FAIL" and bad.failed_at_exchange is not None
    assert bad.log10_e_value > bad.log10_threshold > good.log10_e_value
    assert good.outcome != "FAIL"
    assert bad.noise is not None and good.noise is not None
    assert bad.noise.estimate_logits > 2 * good.noise.estimate_logits


def test_the_same_exchanges_again_add_nothing(tmp_path: Path) -> None:
    requests = [from_provider(r, "bad") for r in requests_of(CHEAT)[:2]]
    again = [replace(r, request_id=f"{r.request_id}-again") for r in requests]
    with ServeProcess(tmp_path, "--calibration", CALIBRATION, "--no-diagnose") as process:
        before = finding_of(audit_all(process, requests), "bad").finding
        after = finding_of(audit_all(process, again), "bad").finding
    assert (after.num_exchanges, after.log10_e_value) == (2, before.log10_e_value)
