"""Runs a server on loopback, in a thread with its own event loop."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType

from audit.errors import ConfigurationError

try:
    import uvicorn

    from audit.sweeps.adversaries.server import AnsweringApp, Served
except ModuleNotFoundError as error:
    raise ConfigurationError(
        "local endpoints need starlette and uvicorn: install inference-audit[sweeps]"
    ) from error

#: A server that does not come up or go down in this time never will.
_PATIENCE_S = 30.0

#: Longer than clients keep an idle connection, so that it is never closed under a request.
_KEEP_ALIVE_S = 120


class LocalServer:
    """A context manager: inside it, the server answers at `base_url`."""

    def __init__(self, served: Served) -> None:
        self.app = AnsweringApp(served)
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def base_url(self) -> str:
        """Up to and without `/completions`. Raises: ConfigurationError while it is not running."""
        if self._socket is None:
            raise ConfigurationError("the local server is not running; enter it with `with` first")
        host, port = self._socket.getsockname()
        return f"http://{host}:{port}/v1"

    def __enter__(self) -> "LocalServer":
        listener = _listener()
        config = uvicorn.Config(
            self.app.routes(),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
        )
        self._socket = listener
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="local-endpoint", daemon=True)
        self._thread.start()
        self._server.is_up.wait(_PATIENCE_S)
        if not self._server.started:
            self.__exit__(None, None, None)
            raise ConfigurationError(f"the local server did not start: {self._error}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
        if self._socket is not None:
            self._socket.close()
        self._socket = self._server = self._thread = None

    def _run(self) -> None:
        server, listener = self._server, self._socket
        if server is None or listener is None:
            return
        try:
            asyncio.run(server.serve(sockets=[listener]))
        except (OSError, RuntimeError) as error:
            self._error = error
        finally:
            server.is_up.set()


def _listener() -> socket.socket:
    # asyncio turns Nagle's delay of 40 ms an answer off only where the protocol is named
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    return listener


class _Server(uvicorn.Server):
    """Tells when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the sockets, and say so."""
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program that the server runs in."""
        yield
