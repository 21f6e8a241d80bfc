"""A user's sweep as a TOML file.

name = "open weights, three hosts"
detectors = []                     # empty or left out: all that apply

[claim]
model = "example/model"

[budget]                           # of one run on one endpoint
max_requests = 400
max_tokens = 100000
max_cost = { amount = "0.50", currency = "USD" }

[schedule]                         # left out: runs only when told to
cron = "17 */6 * * *"
timezone = "Europe/Berlin"

[[endpoints]]
name = "host-a"
base_url = "https://host-a.example/v1"
model = "example-model"
key_ref = "env:HOST_A_KEY"         # or file:PATH; never the key itself
route = { provider = { only = ["a"] } }
input_price = { amount = "0.15", currency = "USD" }    # of a million tokens
output_price = { amount = "0.60", currency = "USD" }

Fields are those of the records in `audit.sweep_records`; nothing unknown is passed over.
"""

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from audit.billing_records import Money
from audit.codec.record_json import canonical_json
from audit.codec.sweep_limits import ScheduleCheck, check_spec
from audit.codec.toml_table import TomlTable
from audit.errors import FieldViolation, InvalidRequest
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

#: A hundred endpoints with routes take a tenth of it.
MAX_FILE_BYTES: Final = 1 << 20


def load_sweep(
    path: Path,
    *,
    check_schedule: ScheduleCheck | None = None,
    known_detectors: Collection[str] | None = None,
) -> SweepSpec:
    """Return the checked spec of a file. Raises: InvalidRequest naming every bad field."""
    try:
        with path.open("rb") as file:
            # not by its stated size: devices and pipes state none
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidRequest.of("file", f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequest.of("file", f"{path} is larger than any sweep (1 MiB)")
    try:
        # some editors put a byte-order mark first
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest.of(
            "file", f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    return parse_sweep(text, check_schedule=check_schedule, known_detectors=known_detectors)


def parse_sweep(
    text: str,
    *,
    check_schedule: ScheduleCheck | None = None,
    known_detectors: Collection[str] | None = None,
) -> SweepSpec:
    """Return the checked spec of a TOML text. Raises: InvalidRequest naming every bad field."""
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise InvalidRequest.of("file", "is nested too deeply to be a sweep") from error
    except ValueError as error:
        raise InvalidRequest.of("file", f"is not valid TOML: {error}") from error
    violations: list[FieldViolation] = []
    spec = _spec(TomlTable(document, "", SweepSpec, violations))
    if violations:
        raise InvalidRequest(*violations)
    check_spec(spec, path="", check_schedule=check_schedule, known_detectors=known_detectors)
    return spec


def _spec(top: TomlTable) -> SweepSpec:
    claim, budget = top.table("claim", Claim), top.table("budget", Budget)
    for name, table in (("claim", claim), ("budget", budget)):
        if table is None and top.get(name) is None:
            top.refuse(name, f"is missing; give a table [{name}]")
    schedule = top.table("schedule", Schedule)
    tables = top.listed("endpoints", dict, "a table [[endpoints]]")
    return SweepSpec(
        name=top.text("name"),
        endpoints=tuple(
            _endpoint(TomlTable(table, f"endpoints[{index}]", Endpoint, top.violations))
            for index, table in enumerate(tables)
        ),
        claim=Claim() if claim is None else _claim(claim),
        budget=Budget(max_requests=0, max_tokens=0) if budget is None else _budget(budget),
        schedule=None if schedule is None else _schedule(schedule),
        detectors=tuple(top.listed("detectors", str, "a detector's id in quotes")),
    )


def _endpoint(table: TomlTable) -> Endpoint:
    return Endpoint(
        name=table.text("name"),
        base_url=table.text("base_url"),
        model=table.text("model"),
        key_ref=table.text("key_ref"),
        role=table.member("role", EndpointRole),
        route_json=_route(table),
        expected_upstream=table.text("expected_upstream"),
        engine=table.text("engine"),
        engine_version=table.text("engine_version"),
        device=table.text("device"),
        sampler_profile=table.text("sampler_profile"),
        api=table.member("api", ApiStyle),
        offers_logprobs=table.flag("offers_logprobs"),
        offers_token_ids=table.flag("offers_token_ids"),
        max_concurrency=table.whole("max_concurrency"),
        max_requests_per_s=table.number("max_requests_per_s"),
        timeout_s=table.number("timeout_s"),
        input_price=_money(table, "input_price"),
        output_price=_money(table, "output_price"),
    )


def _route(table: TomlTable) -> str:
    route = table.get("route")
    if route is None:
        return "{}"
    if not isinstance(route, dict):
        table.refuse("route", "must be a table, such as { provider = { only = [...] } }")
        return "{}"
    try:
        return canonical_json(route, table.place("route"))
    except InvalidRequest as error:
        # dates and times, which TOML has and JSON lacks, among others
        table.violations.extend(error.violations)
        return "{}"


def _claim(table: TomlTable) -> Claim:
    return Claim(
        model=table.text("model"),
        weights_digest=table.text("weights_digest"),
        precision=table.text("precision"),
        sampler_profile=table.text("sampler_profile"),
    )


def _budget(table: TomlTable) -> Budget:
    return Budget(
        max_requests=table.whole("max_requests"),
        max_tokens=table.whole("max_tokens"),
        max_cost=_money(table, "max_cost"),
    )


def _schedule(table: TomlTable) -> Schedule:
    return Schedule(
        cron=table.text("cron"),
        timezone=table.text("timezone"),
        jitter_s=table.number("jitter_s"),
        overlap=table.member("overlap", OverlapRule),
        catch_up=table.member("catch_up", CatchUpRule),
        max_lateness_s=table.number("max_lateness_s"),
    )


def _money(table: TomlTable, name: str) -> Money | None:
    money = table.table(name, Money)
    if money is None:
        return None
    return Money(amount=money.text("amount"), currency=money.text("currency"))
