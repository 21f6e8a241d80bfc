"""An OpenAI-compatible HTTP application around a behaviour."""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from audit.sweep_records import ApiStyle
from audit.sweeps.adversaries.bodies import (
    Envelope,
    answer_body,
    answer_chunks,
    error_body,
    models_body,
)
from audit.sweeps.adversaries.exchange import Ask, Behaviour, content_key
from audit.sweeps.adversaries.requests import RefusedRequest, parse_ask
from reference_runner.errors import RunnerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server serves, and under which names."""

    model: str
    """Requests for other models are refused."""
    behaviour: Behaviour
    clock_s: Callable[[], float]
    """Seconds since any moment, never falling; tricks that change with time read it."""
    max_positions: int = 1024
    """As `/v1/models` states it."""
    upstream: str | None = None
    """The upstream's name in answers, where a marketplace is played."""
    system_fingerprint: str | None = None
    api_key: str | None = None
    """Requests without this bearer key are refused; None takes all."""
    created_s: int = 0
    """Seconds since 1970, as answers state them."""


class AnsweringApp:
    """Takes requests, numbers them, and hands them to the behaviour."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._num_asks = 0
        self._num_same: Counter[bytes] = Counter()

    @property
    def num_asks(self) -> int:
        """Number of well-formed requests so far."""
        return self._num_asks

    def routes(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/v1/completions", self._completions, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    async def _models(self, request: Request) -> Response:
        served = self._served
        if not self._is_admitted(request):
            return _refusal("the API key is missing or wrong", status=401)
        return JSONResponse(
            models_body(
                served.model, created_s=served.created_s, max_positions=served.max_positions
            )
        )

    async def _completions(self, request: Request) -> Response:
        return await self._answer(ApiStyle.COMPLETIONS, request)

    async def _chat(self, request: Request) -> Response:
        return await self._answer(ApiStyle.CHAT, request)

    async def _answer(self, api: ApiStyle, request: Request) -> Response:
        if not self._is_admitted(request):
            return _refusal("the API key is missing or wrong", status=401)
        try:
            ask = self._numbered(parse_ask(api, await _json(request)), request)
            answered = await self._served.behaviour.answer(ask)
        except RefusedRequest as error:
            return _refusal(str(error), status=error.status, param=error.param)
        except RunnerError as error:
            return _refusal(str(error), status=400)
        if answered.upstream is None:
            answered = replace(answered, upstream=self._served.upstream)
        prefix = "chatcmpl" if api is ApiStyle.CHAT else "cmpl"
        envelope = Envelope(
            response_id=f"{prefix}-{content_key(ask).hex()[:16]}-{ask.index}",
            created_s=self._served.created_s,
            system_fingerprint=self._served.system_fingerprint,
        )
        if ask.is_streamed:
            chunks = answer_chunks(ask, answered, envelope)
            return StreamingResponse(chunks, media_type="text/event-stream")
        return JSONResponse(answer_body(ask, answered, envelope))

    def _numbered(self, ask: Ask, request: Request) -> Ask:
        if ask.model != self._served.model:
            message = f"the model {ask.model!r} does not exist here"
            raise RefusedRequest(message, param="model", status=404)
        key = content_key(ask)
        numbered = replace(
            ask,
            caller=_caller(request),
            index=self._num_asks,
            occurrence=self._num_same[key],
            arrived_s=self._served.clock_s(),
        )
        self._num_asks += 1
        self._num_same[key] += 1
        return numbered

    def _is_admitted(self, request: Request) -> bool:
        key = self._served.api_key
        if key is None:
            return True
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {key}".encode())


async def _json(request: Request) -> object:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise RefusedRequest("the body is not JSON") from error


def _caller(request: Request) -> str:
    """Return who asks, without keeping a key."""
    address = request.client.host if request.client is not None else ""
    named = request.headers.get("authorization") or address
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _refusal(message: str, *, status: int, param: str | None = None) -> Response:
    return JSONResponse(error_body(message, status=status, param=param), status_code=status)
