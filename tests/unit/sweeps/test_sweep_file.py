"""A user's TOML file becomes a spec, or is refused with every bad field by its path."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.billing_records import Money
from audit.codec.sweep_file import MAX_FILE_BYTES, load_sweep, parse_sweep
from audit.codec.sweep_json import spec_from_json, spec_to_json
from audit.errors import InvalidRequest
from audit.records import Claim
from audit.sweep_records import (
    ApiStyle,
    Budget,
    CatchUpRule,
    Endpoint,
    EndpointRole,
    OverlapRule,
    Schedule,
    SweepSpec,
)
from audit.sweeps.schedule.cron import check_schedule

WHOLE = """
name = "three hosts"
detectors = ["border-greedy/1", "preflight/1"]

[claim]
model = "example/model"
weights_digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
precision = "bfloat16"
sampler_profile = "vllm-cpu"

[budget]
max_requests = 400
max_tokens = 100_000
max_cost = { amount = "0.50", currency = "USD" }

[schedule]
cron = "17 */6 * * *"
timezone = "Europe/Berlin"
jitter_s = 60
overlap = "wait"
catch_up = "latest"
max_lateness_s = 1800.5

[[endpoints]]
name = "host-a"
base_url = "https://a.example/v1"
model = "m"
key_ref = "env:A_KEY"
route = { provider = { only = ["a"], allow_fallbacks = false } }
expected_upstream = "a"
engine = "vllm"
engine_version = "0.11"
device = "H100"
sampler_profile = "vllm"
api = "chat"
offers_logprobs = false
offers_token_ids = false
max_concurrency = 2
max_requests_per_s = 3
timeout_s = 30
input_price = { amount = "0.15", currency = "USD" }
output_price = { amount = "0.60", currency = "USD" }

[[endpoints]]
name = "local"
base_url = "http://127.0.0.1:8000/v1"
model = "m"
role = "negative_control"
input_price = { amount = "0", currency = "USD" }
output_price = { amount = "0", currency = "USD" }
"""
SMALL = """
name = "one host"
[claim]
model = "example/model"
[budget]
max_requests = 10
max_tokens = 100
[[endpoints]]
name = "host-a"
base_url = "https://a.example/v1"
model = "m"
"""


def refused(text: str, **checks: object) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        parse_sweep(text, **checks)  # type: ignore[arg-type]
    return {violation.field: violation.description for violation in caught.value.violations}


def test_every_field_is_read() -> None:
    usd = "USD"
    assert parse_sweep(WHOLE) == SweepSpec(
        name="three hosts",
        endpoints=(
            Endpoint(
                name="host-a",
                base_url="https://a.example/v1",
                model="m",
                key_ref="env:A_KEY",
                route_json='{"provider":{"allow_fallbacks":false,"only":["a"]}}',
                expected_upstream="a",
                engine="vllm",
                engine_version="0.11",
                device="H100",
                sampler_profile="vllm",
                api=ApiStyle.CHAT,
                offers_logprobs=False,
                offers_token_ids=False,
                max_concurrency=2,
                max_requests_per_s=3.0,
                timeout_s=30.0,
                input_price=Money(amount="0.15", currency=usd),
                output_price=Money(amount="0.60", currency=usd),
            ),
            Endpoint(
                name="local",
                base_url="http://127.0.0.1:8000/v1",
                model="m",
                role=EndpointRole.NEGATIVE_CONTROL,
                input_price=Money(amount="0", currency=usd),
                output_price=Money(amount="0", currency=usd),
            ),
        ),
        claim=Claim(
            model="example/model",
            weights_digest="sha256:" + "0" * 64,
            precision="bfloat16",
            sampler_profile="vllm-cpu",
        ),
        budget=Budget(
            max_requests=400, max_tokens=100_000, max_cost=Money(amount="0.50", currency=usd)
        ),
        schedule=Schedule(
            cron="17 */6 * * *",
            timezone="Europe/Berlin",
            jitter_s=60.0,
            overlap=OverlapRule.WAIT,
            catch_up=CatchUpRule.LATEST,
            max_lateness_s=1800.5,
        ),
        detectors=("border-greedy/1", "preflight/1"),
    )


def test_what_a_file_leaves_out_is_the_records_default() -> None:
    spec = parse_sweep(SMALL)
    assert spec == SweepSpec(
        name="one host",
        endpoints=(Endpoint(name="host-a", base_url="https://a.example/v1", model="m"),),
        claim=Claim(model="example/model"),
        budget=Budget(max_requests=10, max_tokens=100),
    )


def test_a_file_survives_storage() -> None:
    spec = parse_sweep(WHOLE)
    assert spec_from_json(spec_to_json(spec)) == spec


def test_a_file_is_read_from_disk_with_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_bytes(b"\xef\xbb\xbf" + WHOLE.encode())
    assert load_sweep(path) == parse_sweep(WHOLE)


def test_all_wrong_types_are_told_at_once() -> None:
    text = """
name = 3
detectors = ["border-greedy/1", 4]
surprise = 1
schedule = "daily"
[claim]
model = ["m"]
revision = "main"
[budget]
max_requests = "many"
max_tokens = true
max_cost = { amount = 0.5, currency = "USD" }
[[endpoints]]
base_url = "https://a.example/v1"
role = "suspect"
api = 1
offers_logprobs = 1
timeout_s = "1"
route = "openai"
"""
    assert refused(text) == {
        "surprise": "is no field here; known are name, endpoints, claim, budget, schedule, "
        "detectors",
        "claim.revision": "is no field here; known are model, weights_digest, precision, "
        "sampler_profile",
        "schedule": "must be a table",
        "name": "must be a text in quotes",
        "detectors[1]": "must be a detector's id in quotes",
        "claim.model": "must be a text in quotes",
        "budget.max_requests": "must be a whole number",
        "budget.max_tokens": "must be a whole number",
        "budget.max_cost.amount": "must be a text in quotes",
        "endpoints[0].name": "is missing; give a text in quotes",
        "endpoints[0].model": "is missing; give a text in quotes",
        "endpoints[0].role": "is 'suspect'; give one of target, negative_control, positive_control",
        "endpoints[0].api": "must be a text in quotes",
        "endpoints[0].offers_logprobs": "must be true or false",
        "endpoints[0].timeout_s": "must be a number",
        "endpoints[0].route": "must be a table, such as { provider = { only = [...] } }",
    }


@pytest.mark.parametrize(
    ("text", "field", "description"),
    [
        ("name = ", "file", "is not valid TOML"),
        ("a = " + "[" * 5_000, "file", "is"),
        (f"a = {'9' * 5_000}", "file", "is not valid TOML"),
        ("", "claim", "is missing; give a table [claim]"),
        ("endpoints = 3", "endpoints", "must be a list, each a table [[endpoints]]"),
        ("endpoints = [3]", "endpoints[0]", "must be a table [[endpoints]]"),
        ("[endpoint]\nname = 'x'", "endpoint", "is no field here; known are name, endpoints"),
    ],
)
def test_a_broken_file_is_refused(text: str, field: str, description: str) -> None:
    assert refused(text)[field].startswith(description)


@pytest.mark.parametrize(
    ("line", "field", "description"),
    [
        ("timeout_s = inf", "timeout_s", "is inf; give a number above 0 and at most 3600"),
        ("timeout_s = nan", "timeout_s", "is nan; give a number above 0 and at most 3600"),
        (f"timeout_s = 1{'0' * 400}", "timeout_s", "is beyond the range of numbers"),
        ("route = { seen = 1979-05-27 }", "route", "cannot be written as canonical JSON"),
        ("route = { share = nan }", "route", "cannot be written as canonical JSON"),
        (f"route = {{ n = {2**53} }}", "route", "cannot be written as canonical JSON"),
    ],
)
def test_what_toml_has_and_json_lacks_is_refused(line: str, field: str, description: str) -> None:
    found = refused(SMALL + line)
    assert found[f"endpoints[0].{field}"].startswith(description)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    large, binary = tmp_path / "large.toml", tmp_path / "binary.toml"
    large.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    binary.write_bytes(b"name = '\xff'")
    for path, error in (
        (tmp_path / "none.toml", "cannot read .*none.toml: No such file"),
        (tmp_path, "cannot read .*: Is a directory"),
        (large, "is larger than any sweep"),
        (binary, r"is no UTF-8 text \(byte 8\)"),
    ):
        with pytest.raises(InvalidRequest, match=error):
            load_sweep(path)


def test_cron_is_checked_by_whoever_reads_it() -> None:
    seen: list[Schedule] = []

    def check(schedule: Schedule) -> None:
        seen.append(schedule)
        if schedule.cron == "61 * * * *":
            raise InvalidRequest.of("spec.cron", "has no minute 61")
        ZoneInfo(schedule.timezone)

    assert parse_sweep(WHOLE, check_schedule=check).schedule == seen[0]
    bad = WHOLE.replace("17 */6", "61 *")
    assert refused(bad, check_schedule=check) == {"schedule.cron": "has no minute 61"}


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("17 */6 * * *", "61 * * * *", "cron"),
        ("17 */6 * * *", "@daily", "cron"),
        ("Europe/Berlin", "Mars/Base", "timezone"),
        ("jitter_s = 60", "jitter_s = nan", "jitter_s"),
        ("jitter_s = 60", "jitter_s = 21600", "jitter_s"),
        ("max_lateness_s = 1800.5", "max_lateness_s = 0", "max_lateness_s"),
    ],
)
def test_the_schedulers_own_check_names_each_field_once(old: str, new: str, field: str) -> None:
    parse_sweep(WHOLE, check_schedule=check_schedule)
    with pytest.raises(InvalidRequest) as caught:
        parse_sweep(WHOLE.replace(old, new), check_schedule=check_schedule)
    assert [v.field for v in caught.value.violations] == [f"schedule.{field}"]


def test_an_unknown_detector_is_refused_where_detectors_are_known() -> None:
    known = frozenset({"border-greedy/1", "logprob-kl/1"})
    assert refused(WHOLE, known_detectors=known) == {
        "detectors[1]": "preflight/1 is not among border-greedy/1, logprob-kl/1"
    }


def test_bad_fields_are_named_as_the_file_names_them() -> None:
    bad = SMALL.replace("https://a.example/v1", "ftp://a.example").replace("= 10\n", "= 0\n")
    assert sorted(refused(bad)) == ["budget.max_requests", "endpoints[0].base_url"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_mangled_file_is_a_spec_or_is_refused(data: st.DataObject) -> None:
    """No text whatever ends in another error."""
    start = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(start, min(len(WHOLE), start + 12)))
    pieces = st.sampled_from(
        ["", "0", "-1", "nan", '"', "[", "{", "true", "\n", "=", "'x'", "1e999"]
    )
    text = WHOLE[:start] + data.draw(pieces | st.text(max_size=4)) + WHOLE[end:]
    try:
        spec = parse_sweep(text)
    except InvalidRequest as error:
        assert all(violation.field and violation.description for violation in error.violations)
    else:
        assert spec_from_json(spec_to_json(spec)) == spec
