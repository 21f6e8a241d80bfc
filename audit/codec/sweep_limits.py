"""The one place where sweep specs and questions about sweeps are checked.

Stands between a user's file or the wire and the sweep desk; the client refuses before it sends what
the service would refuse. Violations name the fields of the proto, which are those of the file.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from audit.billing_records import Money
from audit.codec.limits import MAX_ID_CHARS, MAX_NAME_CHARS
from audit.codec.sweep_json import spec_to_json
from audit.codec.sweep_route import base_url_violations, key_ref_violations, route_violations
from audit.errors import FieldViolation, InvalidRequest
from audit.records import Claim
from audit.sweep_records import Budget, Endpoint, EndpointRole, Schedule, SweepSpec

MAX_ENDPOINTS: Final = 100
MAX_DETECTORS: Final = 50
#: A run that needs more is no sweep; so many one-token requests take days.
MAX_REQUESTS: Final = 1_000_000
MAX_BUDGET_TOKENS: Final = 10**10
MAX_CONCURRENCY: Final = 256
MAX_REQUESTS_PER_S: Final = 10_000.0
MAX_TIMEOUT_S: Final = 3600.0
MAX_JITTER_S: Final = 86_400.0
MAX_LATENESS_S: Final = 7 * 86_400.0

#: The longest page of specs then fits into one answer; a hundred endpoints need about half.
MAX_SPEC_BYTES: Final = 64 << 10

#: Tells whether a schedule's cron text can be read: raises InvalidRequest where it cannot.
ScheduleCheck = Callable[[Schedule], None]

_DECIMAL = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DETECTOR = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*/[1-9][0-9]{0,3}")

_Violations = Iterator[FieldViolation]


def check_spec(
    spec: SweepSpec,
    *,
    path: str = "spec",
    check_schedule: ScheduleCheck | None = None,
    known_detectors: Collection[str] | None = None,
) -> None:
    """Pass a spec that can be kept and run; a client without a cron reader gives no such check.

    An empty `path` names fields as in a file. Raises: InvalidRequest with every violation found.
    """
    root = f"{path}." if path else ""
    found = [
        *_name(f"{root}name", spec.name),
        *_endpoints(f"{root}endpoints", spec.endpoints),
        *_claim(f"{root}claim", spec.claim),
        *_budget(f"{root}budget", spec.budget),
        *_costs(f"{root}endpoints", spec),
        *_detectors(f"{root}detectors", spec.detectors, known_detectors),
    ]
    if spec.schedule is not None:
        found += _schedule(f"{root}schedule", spec.schedule, check_schedule)
    if found:
        raise InvalidRequest(*found)
    num_bytes = len(spec_to_json(spec).encode())
    if num_bytes > MAX_SPEC_BYTES:
        raise InvalidRequest.of(
            path or "file", f"has {num_bytes} bytes as JSON; the limit is {MAX_SPEC_BYTES}"
        )


def check_sweep_id(sweep_id: str) -> None:
    """Pass an id that may name a sweep. Raises: InvalidRequest."""
    _check_id("sweep_id", sweep_id)


def check_run_id(run_id: str) -> None:
    """Pass an id that may name a run. Raises: InvalidRequest."""
    _check_id("run_id", run_id)


def check_sweep_request_id(request_id: str) -> None:
    """Pass an id that a client may give to a request. Raises: InvalidRequest."""
    _check_id("request_id", request_id)


def _check_id(field: str, value: str) -> None:
    if not 1 <= len(value) <= MAX_ID_CHARS:
        raise InvalidRequest.of(field, f"has {len(value)} characters; give 1 to {MAX_ID_CHARS}")
    if not (value.isascii() and value.isprintable()):
        raise InvalidRequest.of(field, "holds a character that is not printable ASCII")


def _endpoints(path: str, endpoints: tuple[Endpoint, ...]) -> _Violations:
    if not 1 <= len(endpoints) <= MAX_ENDPOINTS:
        yield _bad(path, f"has {len(endpoints)} endpoints; give 1 to {MAX_ENDPOINTS}")
        return
    if not any(endpoint.role is EndpointRole.TARGET for endpoint in endpoints):
        yield _bad(path, "has controls only; give a target, which is what a sweep is about")
    first: dict[str, int] = {}
    for index, endpoint in enumerate(endpoints):
        here = f"{path}[{index}]"
        yield from _endpoint(here, endpoint)
        before = first.setdefault(endpoint.name, index)
        if before != index:
            yield _bad(f"{here}.name", f"is the name of {path}[{before}] too; names are unique")


def _endpoint(path: str, endpoint: Endpoint) -> _Violations:
    yield from _name(f"{path}.name", endpoint.name)
    yield from base_url_violations(f"{path}.base_url", endpoint.base_url)
    yield from _name(f"{path}.model", endpoint.model)
    yield from key_ref_violations(f"{path}.key_ref", endpoint.key_ref)
    yield from route_violations(f"{path}.route", endpoint.route_json)
    for name in ("expected_upstream", "engine", "engine_version", "device", "sampler_profile"):
        value = getattr(endpoint, name)
        if value is not None:
            yield from _name(f"{path}.{name}", value)
    yield from _whole(f"{path}.max_concurrency", endpoint.max_concurrency, MAX_CONCURRENCY)
    rate = endpoint.max_requests_per_s
    if rate is not None:
        yield from _above_zero(f"{path}.max_requests_per_s", rate, MAX_REQUESTS_PER_S)
    yield from _above_zero(f"{path}.timeout_s", endpoint.timeout_s, MAX_TIMEOUT_S)
    yield from _money(f"{path}.input_price", endpoint.input_price)
    yield from _money(f"{path}.output_price", endpoint.output_price)


def _claim(path: str, claim: Claim) -> _Violations:
    yield from _name(f"{path}.model", claim.model or "")
    if claim.weights_digest is not None and not _DIGEST.fullmatch(claim.weights_digest):
        yield _bad(f"{path}.weights_digest", "is not sha256: followed by 64 lower-case hex digits")
    for name in ("precision", "sampler_profile"):
        value = getattr(claim, name)
        if value is not None:
            yield from _name(f"{path}.{name}", value)


def _budget(path: str, budget: Budget) -> _Violations:
    yield from _whole(f"{path}.max_requests", budget.max_requests, MAX_REQUESTS)
    yield from _whole(f"{path}.max_tokens", budget.max_tokens, MAX_BUDGET_TOKENS)
    yield from _money(f"{path}.max_cost", budget.max_cost)
    if budget.max_cost is not None and _is_zero(budget.max_cost):
        yield _bad(f"{path}.max_cost.amount", "is zero; leave max_cost out where nothing is paid")


def _costs(path: str, spec: SweepSpec) -> _Violations:
    limit = spec.budget.max_cost
    for index, endpoint in enumerate(spec.endpoints[:MAX_ENDPOINTS]):
        prices = {"input_price": endpoint.input_price, "output_price": endpoint.output_price}
        stated = [price for price in prices.values() if price is not None]
        for name, price in prices.items():
            if price is None and (stated or limit is not None):
                why = "max_cost cannot be kept" if limit is not None else "costs are half known"
                yield _bad(f"{path}[{index}].{name}", f'is missing, so {why}; "0" if it is free')
        currencies = {money.currency for money in (*stated, *([limit] if limit else []))}
        if len(currencies) > 1:
            names = " and ".join(sorted(currencies))
            yield _bad(f"{path}[{index}]", f"mixes {names}; give prices and max_cost in one")


def _schedule(path: str, schedule: Schedule, check: ScheduleCheck | None) -> _Violations:
    found = [
        *_name(f"{path}.cron", schedule.cron),
        *_within(f"{path}.jitter_s", schedule.jitter_s, MAX_JITTER_S),
        *_above_zero(f"{path}.max_lateness_s", schedule.max_lateness_s, MAX_LATENESS_S),
    ]
    if not _is_zone(schedule.timezone):
        found.append(_bad(f"{path}.timezone", "is no time zone such as Europe/Berlin"))
    yield from found
    try:
        if check is not None:
            check(schedule)
    except InvalidRequest as error:
        named = {violation.field for violation in found}
        for violation in error.violations:
            # whatever it calls the schedule, here it stands at `path`
            field = f"{path}.{violation.field.rpartition('.')[2]}"
            if field not in named:
                yield _bad(field, violation.description)


def _is_zone(name: str) -> bool:
    # zones are files; a name that leaves their folder raises too
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _detectors(path: str, detectors: tuple[str, ...], known: Collection[str] | None) -> _Violations:
    if len(detectors) > MAX_DETECTORS:
        yield _bad(path, f"has {len(detectors)} detectors; the limit is {MAX_DETECTORS}")
        return
    for index, detector in enumerate(detectors):
        if not _DETECTOR.fullmatch(detector):
            yield _bad(f"{path}[{index}]", "is no detector's id, such as border-greedy/1")
        elif known is not None and detector not in known:
            yield _bad(f"{path}[{index}]", f"{detector} is not among {', '.join(sorted(known))}")
        elif detector in detectors[:index]:
            yield _bad(f"{path}[{index}]", f"{detector} is there twice")


def _money(path: str, money: Money | None) -> _Violations:
    if money is None:
        return
    if not _DECIMAL.fullmatch(money.amount):
        yield _bad(f"{path}.amount", 'must be an exact decimal, 0 or more, such as "12.50"')
    if not _CURRENCY.fullmatch(money.currency):
        yield _bad(f"{path}.currency", "must be an ISO 4217 code such as USD or EUR")


def _is_zero(money: Money) -> bool:
    return _DECIMAL.fullmatch(money.amount) is not None and Decimal(money.amount) == 0


def _name(path: str, name: str) -> _Violations:
    if not name:
        yield _bad(path, "is missing")
    elif len(name) > MAX_NAME_CHARS:
        yield _bad(path, f"has {len(name)} characters; the limit is {MAX_NAME_CHARS}")
    elif not name.isprintable():
        yield _bad(path, "holds a control character or other unprintable one; leave it out")
    elif name != name.strip():
        yield _bad(path, "begins or ends with a space; leave it out")


def _whole(path: str, value: int, high: int) -> _Violations:
    if not 1 <= value <= high:
        yield _bad(path, f"is {value}; give 1 to {high}")


def _above_zero(path: str, value: float, high: float) -> _Violations:
    # NaN fails the comparison
    if not 0.0 < value <= high:
        yield _bad(path, f"is {value}; give a number above 0 and at most {high:.0f}")


def _within(path: str, value: float, high: float) -> _Violations:
    if not (math.isfinite(value) and 0.0 <= value <= high):
        yield _bad(path, f"is {value}; give 0 to {high:.0f}")


def _bad(path: str, description: str) -> FieldViolation:
    return FieldViolation(field=path, description=description)
