"""The one boundary at which errors become gRPC statuses.

Wraps every RPC of our services as an interceptor, message parsing included, so that the servicer
just raises. The table of statuses is in `audit.codec.wire_errors`. An error that is not in it is a
fault of ours: the caller learns an incident id, and the log where it happened.
"""

import logging
import traceback
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from audit.codec.wire_errors import internal_status, status_of
from audit.errors import AuditError, InvalidRequest
from audit.ports import NewId

_log = logging.getLogger(__name__)

# gRPC's handlers are generic in every message; here only their bytes matter.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Continuation: TypeAlias = (
    "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]"
)
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ErrorBoundary(grpc.aio.ServerInterceptor):
    """Answers the errors raised by the RPCs of the named services with rich statuses."""

    def __init__(self, *service_names: str, new_id: NewId) -> None:
        self._prefixes = tuple(f"/{name}/" for name in service_names)
        self._new_id = new_id

    async def intercept_service(
        self,
        continuation: _Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        """Return the method's handler, guarded if it belongs to one of the services."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefixes):
            return handler
        return self._guarded(handler)

    def _guarded(self, handler: _Handler) -> _Handler:
        # Messages are parsed inside the guard: gRPC would answer broken bytes with UNKNOWN.
        if handler.request_streaming:
            return self._guarded_conversation(handler)
        respond: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary

        async def answer(raw: bytes, context: _Context) -> Any:
            async with self._answering(context):
                return await respond(_parsed(handler, raw), context)

        async def stream(raw: bytes, context: _Context) -> AsyncIterator[Any]:
            async with self._answering(context):
                # Closed at once where the client leaves: a report holds files.
                async with aclosing(respond(_parsed(handler, raw), context)) as messages:
                    async for message in messages:
                        yield message

        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                stream, response_serializer=handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=handler.response_serializer
        )

    def _guarded_conversation(self, handler: _Handler) -> _Handler:
        respond: Any = handler.stream_stream

        async def converse(raws: AsyncIterable[bytes], context: _Context) -> AsyncIterator[Any]:
            async with (
                self._answering(context),
                aclosing(_parsed_each(handler, raws)) as requests,
                aclosing(respond(requests, context)) as messages,
            ):
                async for message in messages:
                    yield message

        return grpc.stream_stream_rpc_method_handler(
            converse, response_serializer=handler.response_serializer
        )

    @asynccontextmanager
    async def _answering(self, context: _Context) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            await context.abort_with_status(rpc_status.to_status(self._status(error)))

    def _status(self, error: Exception) -> Any:
        status = status_of(error) if isinstance(error, AuditError) else None
        if status is not None:
            _log.info("refused: %s", type(error).__name__)
            return status
        incident_id = self._new_id()
        # Not the error's text, which may hold the prompt.
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("incident %s: %s\n%s", incident_id, type(error).__name__, frames)
        return internal_status(incident_id)


def _parsed(handler: _Handler, raw: bytes) -> Any:
    assert handler.request_deserializer is not None  # noqa: S101  generated code always sets it
    try:
        return handler.request_deserializer(raw)
    except DecodeError:
        raise InvalidRequest.of("request", "is not a message of this RPC, or not UTF-8") from None


async def _parsed_each(handler: _Handler, raws: AsyncIterable[bytes]) -> AsyncGenerator[Any, None]:
    async for raw in raws:
        yield _parsed(handler, raw)
