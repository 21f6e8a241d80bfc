"""A connection to the service, which every client of ours is built on."""

from types import TracebackType
from typing import Final, Self

import grpc

DEFAULT_TIMEOUT_S: Final = 30.0
#: The longest page of audits, envelopes included, stays far below it.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    # An exchange must not take a detour through a proxy that the environment happens to name.
    ("grpc.enable_http_proxy", 0),
    # Notices within 80 s that a watched service is gone.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class Connection:
    """A channel to `host:port`; safe to share between threads, closed as a context manager."""

    def __init__(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()
