"""The client against real servers on loopback that answer, refuse, lie, hang and break off."""

import asyncio
import gzip
import ipaddress
import json
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from audit.billing_records import Money
from audit.errors import ConfigurationError, InvalidRequest
from audit.records import Prompt, SamplingRequest
from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    Budget,
    Endpoint,
    Probe,
    ProbeKind,
    RawAnswer,
    RecordedAnswer,
    Spending,
)
from audit.sweeps.probe import make_probe
from audit.sweeps.provider.client import ClientSettings, ProviderClient
from audit.sweeps.provider.recording import make_recording, write_recording
from audit.sweeps.provider.recording_lines import RecordingHeader, answer_line
from audit.sweeps.provider.retry import RetryRules
from audit.sweeps.provider.secrets import Keyring
from tests.unit.sweeps.loopback import (
    Loopback,
    Script,
    Seen,
    after,
    answering,
    completion,
    cut_short,
    dripping,
    not_http,
    resetting,
    serving,
    silent,
)

KEY = 'sk-live/7f3"Zq+audit-key-0815=='
NOW = "2026-11-21T12:00:00.000000Z"
BUDGET = Budget(max_requests=100, max_tokens=100_000)


def endpoint_of(server: Loopback, **changes: object) -> Endpoint:
    endpoint = Endpoint(
        name="target", base_url=server.base_url, model="m", key_ref="env:KEY", timeout_s=2.0
    )
    return replace(endpoint, **changes)  # type: ignore[arg-type]


def probe_of(text: str = "Once upon a time", max_tokens: int = 1) -> Probe:
    return make_probe(
        kind=ProbeKind.BORDER,
        detector="border-greedy/1",
        group="g",
        api=ApiStyle.COMPLETIONS,
        prompt=Prompt(text=text),
        sampling=SamplingRequest(temperature=0.0, max_tokens=max_tokens),
    )


def settings_of(**changes: object) -> ClientSettings:
    settings = ClientSettings(
        clock=lambda: NOW,
        monotonic=time.monotonic,
        uniform=lambda: 0.5,
        retry=RetryRules(max_attempts=3, base_delay_s=0.02, max_delay_s=0.05),
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def ask_all(
    endpoint: Endpoint,
    probes: Sequence[Probe],
    budget: Budget = BUDGET,
    settings: ClientSettings | None = None,
) -> tuple[list[RawAnswer], Spending]:
    async def run() -> tuple[list[RawAnswer], Spending]:
        keys = Keyring({"KEY": KEY})
        async with ProviderClient([endpoint], budget, keys, settings or settings_of()) as client:
            answers = await asyncio.gather(*(client.ask(endpoint, probe) for probe in probes))
            return list(answers), client.spending(endpoint.name)

    return asyncio.run(run())


def ask_one(
    server: Loopback, settings: ClientSettings | None = None, **changes: object
) -> RawAnswer:
    (raw,), _ = ask_all(endpoint_of(server, **changes), [probe_of()], settings=settings)
    return raw


def test_a_good_answer_is_kept_word_for_word() -> None:
    with serving(answering(completion())) as server:
        (raw,), spending = ask_all(endpoint_of(server), [probe_of()])
    assert raw.status is AnswerStatus.ANSWERED
    assert (raw.http_status, raw.body, raw.num_attempts) == (200, completion(), 1)
    assert raw.sent_at == NOW and raw.elapsed_s is not None and raw.elapsed_s < 2.0
    assert spending == Spending(num_requests=1, num_answered=1, prompt_tokens=5, output_tokens=1)
    (seen,) = server.seen
    assert seen.path == "/v1/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(seen.body) == {
        "model": "m",
        "prompt": "Once upon a time",
        "temperature": 0.0,
        "max_tokens": 1,
        "return_token_ids": True,
    }


@pytest.mark.parametrize(
    ("script", "status", "http_status", "num_attempts", "told"),
    [
        (answering("{}", status=400), AnswerStatus.REFUSED, 400, 1, "declined the request (400)"),
        (answering("no", status=401), AnswerStatus.REFUSED, 401, 1, "declined the request (401)"),
        (answering("{}", status=429), AnswerStatus.RATE_LIMITED, 429, 3, "fewer requests"),
        (answering("oops", status=500), AnswerStatus.SERVER_ERROR, 500, 3, "failed (500)"),
        (answering("oops", status=503), AnswerStatus.SERVER_ERROR, 503, 3, "failed (503)"),
        (answering("<html>hi"), AnswerStatus.GARBAGE, 200, 1, "web page"),
        (answering('{"choices": ['), AnswerStatus.GARBAGE, 200, 1, "not valid JSON"),
        (answering("data: {}\n\n"), AnswerStatus.GARBAGE, 200, 1, "stream of events"),
        (answering(""), AnswerStatus.GARBAGE, 200, 1, "is empty"),
        (answering(b"\xff\xfe\x00"), AnswerStatus.GARBAGE, 200, 1, "not valid JSON"),
        (answering('{"error": {"message": "no GPU"}}'), AnswerStatus.GARBAGE, 200, 1, "no GPU"),
        (silent, AnswerStatus.TIMED_OUT, None, 1, "no whole answer within 0.5 s"),
        (dripping, AnswerStatus.TIMED_OUT, None, 1, "no whole answer within 0.5 s"),
        (resetting, AnswerStatus.UNREACHABLE, None, 3, "broke"),
        (cut_short, AnswerStatus.UNREACHABLE, None, 3, "ended before a whole HTTP answer"),
        (not_http, AnswerStatus.UNREACHABLE, None, 3, "ended before a whole HTTP answer"),
    ],
)
def test_what_goes_wrong_is_recorded_as_what_it_is(
    script: Script, status: AnswerStatus, http_status: int | None, num_attempts: int, told: str
) -> None:
    with serving(script) as server:
        raw = ask_one(server, timeout_s=0.5)
    assert (raw.status, raw.http_status, raw.num_attempts) == (status, http_status, num_attempts)
    assert raw.error is not None and told in raw.error
    assert len(server.seen) == num_attempts


def test_a_wrong_content_type_does_not_spoil_a_good_answer() -> None:
    with serving(answering(completion(), content_type="text/html")) as server:
        assert ask_one(server).status is AnswerStatus.ANSWERED


def test_nobody_listening_is_unreachable_and_costs_no_tokens() -> None:
    with serving(silent) as server:
        pass
    (raw,), spending = ask_all(endpoint_of(server), [probe_of()])
    assert (raw.status, raw.num_attempts) == (AnswerStatus.UNREACHABLE, 3)
    assert raw.error == "127.0.0.1 cannot be reached: no connection"
    assert spending == Spending(num_requests=3)


def test_a_huge_answer_is_cut_and_garbage() -> None:
    with serving(answering(b'{"choices": "' + b"x" * (3 << 20))) as server:
        raw = ask_one(server)
    assert (raw.status, raw.is_cut, len(raw.body)) == (AnswerStatus.GARBAGE, True, 1 << 20)
    assert raw.error is not None and "longer than the client reads" in raw.error


def test_a_packed_bomb_is_unpacked_only_so_far() -> None:
    bomb = gzip.compress(b"x" * (64 << 20))
    with serving(answering(bomb, headers=(("Content-Encoding", "gzip"),))) as server:
        raw = ask_one(server)
    assert (raw.is_cut, len(raw.body)) == (True, 1 << 20)


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(completion().encode(), mtime=0), "gzip", AnswerStatus.ANSWERED),
        (b"not packed", "gzip", AnswerStatus.GARBAGE),
        (b"packed somehow", "br", AnswerStatus.GARBAGE),
    ],
)
def test_packed_answers(body: bytes, encoding: str, status: AnswerStatus) -> None:
    with serving(answering(body, headers=(("Content-Encoding", encoding),))) as server:
        assert ask_one(server).status is status


def test_a_redirect_is_not_followed() -> None:
    with serving(answering(completion())) as other:
        headers = (("Location", f"{other.base_url}/completions?key={KEY}"),)
        with serving(answering("", status=307, headers=headers)) as server:
            raw = ask_one(server)
    assert (raw.status, raw.http_status, raw.num_attempts) == (AnswerStatus.GARBAGE, 307, 1)
    assert raw.error is not None and "127.0.0.1" in raw.error
    assert KEY not in raw.error and not other.seen


def test_a_failure_that_passes_is_tried_again() -> None:
    busy = answering("{}", status=429, headers=(("Retry-After", "0"),))
    with serving(busy, answering("", status=502), answering(completion())) as server:
        raw = ask_one(server)
    assert (raw.status, raw.num_attempts, raw.num_rate_limited) == (AnswerStatus.ANSWERED, 3, 1)


def test_retry_after_is_a_minimum_and_a_long_one_ends_the_trying() -> None:
    slept_s: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept_s.append(delay_s)

    def ask(retry_after: str) -> RawAnswer:
        busy = answering("{}", status=429, headers=(("Retry-After", retry_after),))
        with serving(busy, answering(completion())) as server:
            return ask_one(server, settings_of(sleep=sleep))

    assert ask("7").status is AnswerStatus.ANSWERED
    assert slept_s[0] == pytest.approx(7.01)
    assert ask("Sat, 21 Nov 2026 12:00:09 GMT").status is AnswerStatus.ANSWERED
    late = ask("3600")
    assert (late.status, late.num_attempts) == (AnswerStatus.RATE_LIMITED, 1)
    # one wait for the try, and the lane's own hold before the next
    assert max(slept_s) == pytest.approx(9.01, abs=0.01)


def test_each_try_counts_against_the_budget() -> None:
    with serving(answering("", status=500)) as server:
        endpoint = endpoint_of(server, max_concurrency=1)
        probes = [probe_of(f"text {n}") for n in range(7)]
        raws, spending = ask_all(endpoint, probes, Budget(max_requests=5, max_tokens=10**6))
    assert len(server.seen) == spending.num_requests == 5
    assert sum(raw.num_attempts for raw in raws) == 5
    assert [raw.status for raw in raws].count(AnswerStatus.NOT_SENT) == 2
    assert raws[-1].error == "not sent: the budget of 5 requests is spent"
    cut = "the endpoint failed (500); no further try: not sent: the budget of 5 requests is spent"
    assert [raw.error for raw in raws].count(cut) == 5


def test_tokens_are_set_aside_before_and_settled_after() -> None:
    with serving(answering(completion())) as server:
        # one request needs 16 + 16 + 10 tokens at worst and takes 6
        endpoint, probes = endpoint_of(server, max_concurrency=1), [probe_of(max_tokens=10)] * 9
        raws, spending = ask_all(endpoint, probes, Budget(max_requests=99, max_tokens=60))
    statuses = [raw.status for raw in raws]
    assert statuses.count(AnswerStatus.ANSWERED) == 4
    assert statuses.count(AnswerStatus.NOT_SENT) == 5
    assert (spending.prompt_tokens, spending.output_tokens) == (20, 4)
    assert "60 tokens may be exceeded" in (raws[-1].error or "")


def test_concurrent_requests_cannot_spend_the_same_tokens_twice() -> None:
    with serving(after(0.05, answering(completion()))) as server:
        endpoint = endpoint_of(server, max_concurrency=8)
        raws, _ = ask_all(
            endpoint, [probe_of(max_tokens=10)] * 8, Budget(max_requests=99, max_tokens=90)
        )
    assert [raw.status for raw in raws].count(AnswerStatus.ANSWERED) == 2


def test_money_is_watched_exactly_and_unreadable_usage_costs_the_worst_case() -> None:
    price = Money(amount="100000", currency="USD")
    with serving(answering(completion()), answering("<html>")) as server:
        endpoint = endpoint_of(server, input_price=price, output_price=price, max_concurrency=1)
        budget = Budget(
            max_requests=99, max_tokens=10**6, max_cost=Money(amount="7.1", currency="USD")
        )
        raws, spending = ask_all(endpoint, [probe_of()] * 3, budget)
    assert [raw.status.value for raw in raws] == ["answered", "garbage", "not_sent"]
    assert spending.cost is not None
    assert Decimal(spending.cost.amount) == Decimal("0.1") * (6 + 33)
    assert raws[-1].error == "not sent: the budget of 7.1 USD may be exceeded by this request"


def test_money_without_prices_or_in_two_currencies_is_refused() -> None:
    with serving(silent) as server:
        endpoint = endpoint_of(server)
    cost = Money(amount="1", currency="USD")
    budget = Budget(max_requests=1, max_tokens=1, max_cost=cost)
    with pytest.raises(InvalidRequest, match="must be stated with output_price"):
        ask_all(endpoint, [], budget)
    euro = Money(amount="1", currency="EUR")
    priced = replace(endpoint, input_price=euro, output_price=euro)
    with pytest.raises(InvalidRequest, match="EUR, USD; state all in one currency"):
        ask_all(priced, [], budget)


def test_concurrency_and_rate_are_kept() -> None:
    with serving(after(0.05, answering(completion()))) as server:
        ask_all(endpoint_of(server, max_concurrency=3), [probe_of(str(n)) for n in range(12)])
    assert server.most_open == 3
    with serving(answering(completion())) as server:
        ask_all(endpoint_of(server, max_requests_per_s=20.0), [probe_of(str(n)) for n in range(8)])
    assert server.times_s[-1] - server.times_s[0] >= 7 / 20.0 - 0.02


def test_a_resumed_run_goes_on_with_what_is_left() -> None:
    with serving(answering(completion())) as server:
        endpoint = endpoint_of(server)

        async def run() -> RawAnswer:
            budget = Budget(max_requests=5, max_tokens=10**6)
            client = ProviderClient([endpoint], budget, Keyring({"KEY": KEY}), settings_of())
            earlier = RawAnswer(status=AnswerStatus.SERVER_ERROR, http_status=500, num_attempts=5)
            client.charge("target", probe_of(), earlier)
            async with client:
                return await client.ask(endpoint, probe_of())

        raw = asyncio.run(run())
    assert raw.status is AnswerStatus.NOT_SENT and not server.seen


def test_cookies_are_not_returned_and_the_environment_names_no_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    script = answering(completion(), headers=(("Set-Cookie", "sticky=1"),))
    with serving(script) as server:
        raws, _ = ask_all(endpoint_of(server, max_concurrency=1), [probe_of("a"), probe_of("b")])
    assert [raw.status for raw in raws] == [AnswerStatus.ANSWERED] * 2
    assert all("cookie" not in seen.headers for seen in server.seen)


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


ECHOES: dict[str, Callable[[Seen], bytes]] = {
    "header": lambda seen: completion(seen.headers["authorization"]).encode(),
    "error": lambda seen: json.dumps({"error": {"message": f"bad key {KEY}"}}).encode(),
    "page": lambda seen: f"<html>{KEY}".encode(),
    "escapes": lambda seen: ('{"error": "' + _escaped(KEY) + '"}').encode(),
    "cut off": lambda seen: b"x" * ((1 << 20) - 20) + KEY.encode() * 3,
    "bytes apart": lambda seen: ("<p>" + "\0".join(KEY)).encode(),
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("status", [200, 401, 429, 500])
def test_an_echoed_key_is_in_no_record_and_no_log(
    echo: str, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = answering(ECHOES[echo], status=status, headers=(("X-Echo", f"Bearer {KEY}"),))
    with serving(script) as server:
        endpoint = endpoint_of(server)
        probes = [probe_of()]
        (raw,), spending = ask_all(endpoint, probes)
    header = RecordingHeader(run_id="r", sweep_id="s", slot_at=NOW)
    answers = [RecordedAnswer(endpoint="target", position=0, raw=raw)]
    path = tmp_path / "recording.gz"
    write_recording(make_recording(header, {"target": probes}, answers), path)
    produced = [repr(raw), repr(spending), repr(endpoint), answer_line(answers[0])]
    produced += [gzip.decompress(path.read_bytes()).decode(), caplog.text]
    produced += [record.getMessage() for record in caplog.records]
    for text in produced:
        for spelling in (KEY, json.dumps(KEY)[1:-1], _escaped(KEY), "\0".join(KEY), KEY[:12]):
            assert spelling not in text
    assert "httpcore2" in " ".join(record.name for record in caplog.records)
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


def _certificate(folder: Path) -> Path:
    """Write a key with a certificate of 127.0.0.1 that nobody else signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    start = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(private + certificate.public_bytes(encoding))
    return path


def test_certificates_are_checked_before_the_key_is_sent(tmp_path: Path) -> None:
    path = _certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    with serving(answering(completion()), tls=tls) as server:
        untrusted = ask_one(server)
        assert not server.seen
        trusted = ask_one(server, settings_of(tls=ssl.create_default_context(cafile=path)))
    assert (untrusted.status, untrusted.num_attempts) == (AnswerStatus.UNREACHABLE, 1)
    assert untrusted.error is not None and "certificate is not trusted" in untrusted.error
    assert trusted.status is AnswerStatus.ANSWERED


def test_a_server_that_speaks_no_tls_gets_no_key() -> None:
    with serving(silent) as server:
        https = server.base_url.replace("http:", "https:")
        raw = ask_one(server, base_url=https, timeout_s=0.6)
    assert (raw.status, raw.num_attempts) == (AnswerStatus.UNREACHABLE, 3)
    assert not server.seen


@pytest.mark.parametrize(
    ("key_ref", "told"),
    [
        ("env:MISSING", "variable MISSING is not set"),
        ("sk-pasted-key", "must read env:NAME or file:PATH"),
        ("file:/nowhere/key", "cannot read the API key in /nowhere/key: No such file"),
        ("env:SHORT", "has 3 characters"),
        ("env:SPACED", "characters that no header may hold"),
    ],
)
def test_a_key_that_cannot_be_used_is_told_without_being_told(key_ref: str, told: str) -> None:
    keys = Keyring({"SHORT": "abc", "SPACED": "sk-with\r\nspace-inside"})
    with pytest.raises(ConfigurationError) as caught:
        keys.resolve(key_ref)
    assert told in str(caught.value)
    assert "sk-" not in str(caught.value) and caught.value.__cause__ is None


def test_keys_come_from_files_and_never_show_themselves(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    secret = Keyring({}).resolve(f"file:{path}")
    assert secret is not None and secret.reveal() == KEY
    assert KEY not in f"{secret!r} {secret}"
    path.write_bytes(b"\xff\xfe" + KEY.encode())
    with pytest.raises(ConfigurationError, match="it is not text") as caught:
        Keyring({}).resolve(f"file:{path}")
    assert caught.value.__suppress_context__
    assert Keyring({}).resolve(None) is None


def test_an_endpoint_that_the_client_was_not_made_for_is_refused() -> None:
    with serving(silent) as server:
        endpoint = endpoint_of(server)

    async def run() -> None:
        client = ProviderClient([endpoint], BUDGET, Keyring({"KEY": KEY}), settings_of())
        async with client:
            await client.ask(replace(endpoint, name="other"), probe_of())

    with pytest.raises(InvalidRequest, match="none of this client's"):
        asyncio.run(run())
