"""Send requests to the running server and keep each answer exactly as received.

The tricks of cheating providers are played here, between the claimed request and the server: a
hotter temperature, another seed, or single tokens flipped. Not run by itself; `record.py` imports
it.
"""

import itertools
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from bodies import MAX_SEED, Body, endpoint
from engine import Engine
from flips import complete_with_flips
from plans import Plan, Trick
from transformers import PreTrainedTokenizerBase

TIMEOUT_S = 600.0
HOTTER_BY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the lines of one file say about the provider."""

    engine: str
    engine_version: str
    dtype: str
    api_base: str


def meta_of(claim: Claim, started_at: datetime, elapsed_s: float, path: str = "") -> Body:
    """Return the `meta` object of a traffic line."""
    return {
        "engine": claim.engine,
        "engine_version": claim.engine_version,
        "device": "cpu",
        "dtype": claim.dtype,
        "started_at": started_at.isoformat(timespec="milliseconds"),
        "elapsed_s": round(elapsed_s, 4),
        "api_base": claim.api_base + path,
    }


def _read_stream(response: httpx.Response) -> Body:
    """Return all data objects of a server-sent event stream, in order."""
    lines = (line.removeprefix("data: ") for line in response.iter_lines() if line)
    return {"chunks": [json.loads(line) for line in lines if line != "[DONE]"]}


def post(client: httpx.Client, body: Body) -> Body:
    """Send one request and return the answer's body, or the chunks of a streamed answer.

    Raises:
        httpx.HTTPStatusError: if the server refuses the request.
    """
    with client.stream("POST", endpoint(body), json=body) as response:
        if response.is_error:
            response.read()
            raise httpx.HTTPStatusError(
                f"{response.status_code}: {response.text}",
                request=response.request,
                response=response,
            )
        if body.get("stream"):
            return _read_stream(response)
        answer: Body = json.loads(response.read())
        return answer


def _really_sent(body: Body, trick: Trick, rng: random.Random) -> Body:
    """Return what the provider really runs for a claimed request."""
    match trick:
        case Trick.HOTTER:
            return {**body, "temperature": round(body["temperature"] + HOTTER_BY, 3)}
        case Trick.TEN_PERCENT_HOTTER:
            return {**body, "temperature": round(body["temperature"] * 1.1, 3)}
        case Trick.TEN_PERCENT_COLDER:
            return {**body, "temperature": round(body["temperature"] * 0.9, 3)}
        case Trick.OTHER_SEED:
            return {**body, "seed": rng.randint(1, MAX_SEED)}
        case Trick.NONE | Trick.FLIP:
            return body


def _exchange(
    client: httpx.Client, body: Body, plan: Plan, claim: Claim, tokenizer: PreTrainedTokenizerBase
) -> Body:
    """Send one request the way the plan's provider would, and return the traffic line."""
    rng = random.Random(f"{plan.name} {body.get('seed')}")
    started_at, started = datetime.now(UTC), time.monotonic()
    if plan.trick is Trick.FLIP:
        answer = complete_with_flips(lambda b: post(client, b), body, tokenizer, rng)
    else:
        answer = post(client, _really_sent(body, plan.trick, rng))
    elapsed_s = time.monotonic() - started
    meta = meta_of(claim, started_at, elapsed_s, endpoint(body))
    return {"request": body, "response": answer, "meta": meta}


def _split(bodies: list[Body], num_parts: int) -> list[list[Body]]:
    """Return the bodies as consecutive parts of nearly equal length."""
    bounds = [len(bodies) * i // num_parts for i in range(num_parts + 1)]
    return [bodies[a:b] for a, b in itertools.pairwise(bounds)]


def record_from_server(
    engine: Engine, plan: Plan, claim: Claim, bodies: list[Body], tokenizer: PreTrainedTokenizerBase
) -> list[Body]:
    """Send all requests of a plan, a part at each concurrency; return the lines in order."""
    lines: list[Body] = []
    fresh = httpx.Limits(max_keepalive_connections=0)  # the server drops idle ones without notice
    with httpx.Client(base_url=engine.base_url, timeout=TIMEOUT_S, limits=fresh) as client:
        parts = _split(bodies, len(plan.concurrencies))
        for concurrency, part in zip(plan.concurrencies, parts, strict=True):
            with ThreadPoolExecutor(concurrency) as pool:
                lines += pool.map(lambda b: _exchange(client, b, plan, claim, tokenizer), part)
    return lines


def num_output_tokens(line: Body) -> int:
    """Return the number of generated tokens that a traffic line holds."""
    response: Body = line["response"]
    if "chunks" in response:
        choices: list[Any] = [c for chunk in response["chunks"] for c in chunk["choices"]]
    else:
        choices = response["choices"]
    if any(choice.get("token_ids") for choice in choices):
        return sum(len(choice.get("token_ids") or []) for choice in choices)
    usage: Body = response.get("usage") or {}
    return int(usage.get("completion_tokens", 0))
