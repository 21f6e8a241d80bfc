"""What may be watched: addresses, keys, routes, money, numbers; refusals by field and reason."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.billing_records import Money
from audit.codec.sweep_limits import (
    MAX_ENDPOINTS,
    check_run_id,
    check_spec,
    check_sweep_id,
    check_sweep_request_id,
)
from audit.errors import InvalidRequest
from audit.records import Claim
from audit.sweep_records import Budget, Endpoint, EndpointRole, Schedule, SweepSpec
from tests.unit.sweeps.record_strategies import records

ENDPOINT = Endpoint(name="host-a", base_url="https://a.example/v1", model="m")
SPEC = SweepSpec(
    name="one host",
    endpoints=(ENDPOINT,),
    claim=Claim(model="example/model"),
    budget=Budget(max_requests=10, max_tokens=100),
)
#: Made up; shaped like keys that are in use.
A_KEY = "sk-proj-abcdefghijklmnop1234567890"


def usd(amount: str) -> Money:
    return Money(amount=amount, currency="USD")


def refused(spec: SweepSpec) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        check_spec(spec)
    return {violation.field: violation.description for violation in caught.value.violations}


def with_endpoint(**changes: Any) -> SweepSpec:
    return replace(SPEC, endpoints=(replace(ENDPOINT, **changes),))


def refused_endpoint(**changes: Any) -> dict[str, str]:
    found = refused(with_endpoint(**changes))
    assert all(field.startswith("spec.endpoints[0]") for field in found)
    return {field.removeprefix("spec.endpoints[0]."): text for field, text in found.items()}


def test_a_good_spec_passes() -> None:
    check_spec(SPEC)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "https://[::1]:8443/v1/",
        "https://host.example",
        "https://host.example/api-gateway-of-production/hf-inference-endpoints/v1",
        "https://gateway.example/account/4af2/sk/openai/v1",
    ],
)
def test_an_ordinary_address_passes(url: str) -> None:
    check_spec(with_endpoint(base_url=url))


@pytest.mark.parametrize(
    ("url", "description"),
    [
        ("", "is missing"),
        ("a.example/v1", "must be http:// or https://"),
        ("ftp://a.example/v1", "must be http:// or https://"),
        ("file:///etc/passwd", "must be http:// or https://"),
        ("https:///v1", "must be http:// or https:// with a host"),
        ("https://user:pass@a.example/v1", "holds a user or password"),
        ("https://user@a.example/v1", "holds a user or password"),
        ("https://a.example/v1?api-key=x", "holds a query or fragment"),
        ("https://a.example/v1#x", "holds a query or fragment"),
        ("https://a.example/v1?", "holds a query or fragment"),
        (f"https://a.example/{A_KEY}/v1", "holds what looks like a key"),
        ("https://a.example/hf_abcdefghijklmnopqrstuvwxyz/v1", "holds what looks like a key"),
        ("https://a.example:99999/v1", "is no address"),
        ("https://[::1/v1", "is no address"),
        ("https://a.example/v1\n", "holds a space or another character"),
        ("https://a.example/v 1", "holds a space or another character"),
        ("https://ä.example/v1", "holds a space or another character"),
        ("https://a.example/v1/chat/completions", "ends with /completions"),
        ("https://a.example/v1/completions/", "ends with /completions"),
        ("https://a.example/" + "v" * 2048, "has 2066 characters"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str, description: str) -> None:
    found = refused_endpoint(base_url=url)
    assert list(found) == ["base_url"]
    assert found["base_url"].startswith(description)


@pytest.mark.parametrize("ref", ["env:A_KEY", "env:_k9", "file:/run/secrets/key", "file:key.txt"])
def test_a_reference_to_a_key_passes(ref: str) -> None:
    check_spec(with_endpoint(key_ref=ref))


@pytest.mark.parametrize(
    "ref", [A_KEY, "", "env:", "env:A KEY", "env:1A", "file:", "file:a\nb", "ENV:A", "vault:x"]
)
def test_a_key_in_place_of_its_reference_is_refused_and_not_repeated(ref: str) -> None:
    found = refused_endpoint(key_ref=ref)
    assert list(found) == ["key_ref"]
    assert A_KEY not in found["key_ref"]


@pytest.mark.parametrize(
    "route",
    [
        {},
        {"provider": {"only": ["a"], "allow_fallbacks": False, "quantizations": ["bf16"]}},
        {"providerOptions": {"gateway": {"only": ["a"]}}, "user": "audit"},
        {"service_tier": "default", "metadata": {"max_tokens_seen": "3"}},
    ],
)
def test_a_route_that_says_who_answers_passes(route: dict[str, object]) -> None:
    check_spec(with_endpoint(route_json=json.dumps(route)))


@pytest.mark.parametrize(
    "name",
    [
        *("model", "models", "prompt", "messages", "system", "temperature", "Top_P", "seed", "n"),
        *("max_tokens", "maxTokens", "stop", "stream", "logprobs", "logit_bias", "min_p", "tools"),
        *("frequency_penalty", "response_format", "transforms", "plugins", "reasoning", "input"),
        *("chat_template", "return_token_ids", "extra_body", "repetition-penalty"),
    ],
)
def test_a_route_must_not_change_what_is_asked(name: str) -> None:
    assert refused_endpoint(route_json=json.dumps({name: 1})) == {
        f"route.{name}": "is the probe's own; a route may only say who answers"
    }


@pytest.mark.parametrize(
    ("route", "field"),
    [
        ({"api_key": "x"}, "route.api_key"),
        ({"provider": {"headers": {"X": "y"}}}, "route.provider.headers"),
        ({"provider": [{"Authorization": "x"}]}, "route.provider[0].Authorization"),
        ({"provider": {"key": 1}}, "route.provider.key"),
        ({"provider": {"clientSecret": 1}}, "route.provider.clientSecret"),
        ({"provider": {"only": ["a", A_KEY]}}, "route.provider.only[1]"),
        ({"provider": {"note": "Bearer abcdefgh12345678"}}, "route.provider.note"),
        ({"provider": {A_KEY: 1}}, "route.provider"),
    ],
)
def test_a_route_must_not_hold_a_secret(route: dict[str, object], field: str) -> None:
    found = refused_endpoint(route_json=json.dumps(route))
    assert list(found) == [field]
    assert A_KEY not in found[field]


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("", "is not valid JSON"),
        ("[]", "must be an object, found a list"),
        ('{"a":1,"a":2}', "is not valid JSON: the member 'a' occurs twice"),
        ('{"a":NaN}', "is not valid JSON: NaN is not a JSON number"),
        ('{"a":1e999}', "cannot be written as canonical JSON"),
        ('{"a":"\\ud800"}', "cannot be written as canonical JSON"),
        ('{"a":' + "[" * 9_000 + "1" + "]" * 9_000 + "}", "has 18007 characters"),
        ('{"a":' + "[" * 8_000 + "1" + "]" * 8_000 + "}", "is nested too deeply"),
    ],
)
def test_a_route_that_is_no_json_object_is_refused(text: str, description: str) -> None:
    found = refused_endpoint(route_json=text)
    assert list(found) == ["route"]
    assert found["route"].startswith(description)


@settings(max_examples=40, deadline=None)
@given(st.integers(100, 2_000))
def test_a_deep_route_ends_in_a_pass_or_a_refusal(depth: int) -> None:
    text = '{"provider":' + "[" * depth + "1" + "]" * depth + "}"
    try:
        check_spec(with_endpoint(route_json=text))
    except InvalidRequest as error:
        assert [v.field for v in error.violations] == ["spec.endpoints[0].route"]


def test_names_of_endpoints_are_unique_and_one_is_a_target() -> None:
    twice = replace(SPEC, endpoints=(ENDPOINT, ENDPOINT))
    assert refused(twice) == {
        "spec.endpoints[1].name": "is the name of spec.endpoints[0] too; names are unique"
    }
    assert refused(with_endpoint(role=EndpointRole.POSITIVE_CONTROL)) == {
        "spec.endpoints": "has controls only; give a target, which is what a sweep is about"
    }
    assert refused(replace(SPEC, endpoints=())) == {
        "spec.endpoints": f"has 0 endpoints; give 1 to {MAX_ENDPOINTS}"
    }
    many = tuple(replace(ENDPOINT, name=str(n)) for n in range(MAX_ENDPOINTS + 1))
    assert list(refused(replace(SPEC, endpoints=many))) == ["spec.endpoints"]


@pytest.mark.parametrize(
    ("changes", "field", "description"),
    [
        ({"name": ""}, "name", "is missing"),
        ({"name": " a"}, "name", "begins or ends with a space; leave it out"),
        ({"name": "a\x1b[2J"}, "name", "holds a control character or other unprintable one"),
        ({"name": "a" * 257}, "name", "has 257 characters; the limit is 256"),
        ({"model": ""}, "model", "is missing"),
        ({"engine": ""}, "engine", "is missing"),
        ({"expected_upstream": "\n"}, "expected_upstream", "holds a control character"),
        ({"max_concurrency": 0}, "max_concurrency", "is 0; give 1 to 256"),
        ({"max_concurrency": 257}, "max_concurrency", "is 257; give 1 to 256"),
        ({"max_requests_per_s": 0.0}, "max_requests_per_s", "is 0.0; give a number above 0"),
        ({"max_requests_per_s": math.inf}, "max_requests_per_s", "is inf; give a number above 0"),
        ({"timeout_s": math.nan}, "timeout_s", "is nan; give a number above 0"),
        ({"timeout_s": -1.0}, "timeout_s", "is -1.0; give a number above 0 and at most 3600"),
    ],
)
def test_an_endpoint_out_of_bounds_is_refused(
    changes: dict[str, Any], field: str, description: str
) -> None:
    found = refused_endpoint(**changes)
    assert list(found) == [field]
    assert found[field].startswith(description)


@pytest.mark.parametrize("amount", ["1e3", "-1", "", "NaN", "1,5", "0x1", "1.", ".5", " 1"])
def test_prices_are_exact_decimals(amount: str) -> None:
    found = refused_endpoint(input_price=usd(amount), output_price=usd("1"))
    assert found == {"input_price.amount": 'must be an exact decimal, 0 or more, such as "12.50"'}


def test_a_limit_in_money_needs_prices_in_its_currency() -> None:
    budget = Budget(max_requests=10, max_tokens=100, max_cost=usd("1"))
    check_spec(replace(with_endpoint(input_price=usd("0"), output_price=usd("0.5")), budget=budget))
    free = '"0" if it is free'
    assert refused(replace(SPEC, budget=budget)) == {
        f"spec.endpoints[0].{name}_price": f"is missing, so max_cost cannot be kept; {free}"
        for name in ("input", "output")
    }
    euros = Money(amount="1", currency="EUR")
    mixed = with_endpoint(input_price=euros, output_price=usd("1"))
    expected = {"spec.endpoints[0]": "mixes EUR and USD; give prices and max_cost in one"}
    assert refused(mixed) == expected
    both = with_endpoint(input_price=euros, output_price=euros)
    assert refused(replace(both, budget=budget)) == expected
    assert refused(with_endpoint(input_price=usd("1"))) == {
        "spec.endpoints[0].output_price": 'is missing, so costs are half known; "0" if it is free'
    }


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        (Budget(max_requests=0, max_tokens=1), "max_requests"),
        (Budget(max_requests=1_000_001, max_tokens=1), "max_requests"),
        (Budget(max_requests=1, max_tokens=-1), "max_tokens"),
        (Budget(max_requests=1, max_tokens=2**60), "max_tokens"),
    ],
)
def test_a_budget_has_bounds(budget: Budget, field: str) -> None:
    assert list(refused(replace(SPEC, budget=budget))) == [f"spec.budget.{field}"]


def test_a_limit_of_no_money_is_refused() -> None:
    free = with_endpoint(input_price=usd("0"), output_price=usd("0"))
    budget = Budget(max_requests=1, max_tokens=1, max_cost=usd("0.00"))
    assert refused(replace(free, budget=budget)) == {
        "spec.budget.max_cost.amount": "is zero; leave max_cost out where nothing is paid"
    }


@pytest.mark.parametrize(
    "zone", ["", "Mars/Base", "/etc/localtime", "../UTC", "Europe", "UTC\0", "é", "a" * 300]
)
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    schedule = Schedule(cron="0 * * * *", timezone=zone)
    assert refused(replace(SPEC, schedule=schedule)) == {
        "spec.schedule.timezone": "is no time zone such as Europe/Berlin"
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cron": ""}, "cron"),
        ({"jitter_s": -1.0}, "jitter_s"),
        ({"jitter_s": math.nan}, "jitter_s"),
        ({"jitter_s": 86_401.0}, "jitter_s"),
        ({"max_lateness_s": 0.0}, "max_lateness_s"),
    ],
)
def test_a_schedule_has_bounds(changes: dict[str, Any], field: str) -> None:
    schedule = replace(Schedule(cron="0 * * * *"), **changes)
    assert list(refused(replace(SPEC, schedule=schedule))) == [f"spec.schedule.{field}"]


def test_a_claim_names_a_model_and_a_digest_is_one() -> None:
    assert refused(replace(SPEC, claim=Claim())) == {"spec.claim.model": "is missing"}
    assert list(refused(replace(SPEC, claim=Claim(model="m", weights_digest="sha256:1")))) == [
        "spec.claim.weights_digest"
    ]


@pytest.mark.parametrize(
    ("detectors", "description"),
    [
        (("border",), "is no detector's id, such as border-greedy/1"),
        (("Border/1",), "is no detector's id, such as border-greedy/1"),
        (("border/0",), "is no detector's id, such as border-greedy/1"),
    ],
)
def test_detectors_are_named_by_id(detectors: tuple[str, ...], description: str) -> None:
    assert refused(replace(SPEC, detectors=detectors)) == {"spec.detectors[0]": description}


def test_a_detector_is_named_once() -> None:
    assert refused(replace(SPEC, detectors=("a/1", "a/2", "a/1"))) == {
        "spec.detectors[2]": "a/1 is there twice"
    }


def test_a_spec_that_would_not_fit_a_page_is_refused() -> None:
    route = json.dumps({"provider": {"only": ["x" * 9_000]}})
    endpoints = tuple(replace(ENDPOINT, name=str(n), route_json=route) for n in range(8))
    assert list(refused(replace(SPEC, endpoints=endpoints))) == ["spec"]


@pytest.mark.parametrize("value", ["", "x" * 129, "a\n", "é"])
def test_ids_are_short_and_printable(value: str) -> None:
    for check, field in (
        (check_sweep_id, "sweep_id"),
        (check_run_id, "run_id"),
        (check_sweep_request_id, "request_id"),
    ):
        check("0b2c")
        with pytest.raises(InvalidRequest) as caught:
            check(value)
        assert [violation.field for violation in caught.value.violations] == [field]


@settings(max_examples=100, deadline=None)
@given(records(SweepSpec))
def test_any_spec_passes_or_is_refused_by_field(spec: SweepSpec) -> None:
    with pytest.raises(InvalidRequest) as caught:
        # a made-up spec is never a good one: its addresses are not
        check_spec(spec)
    assert all(violation.field.startswith("spec") for violation in caught.value.violations)
