"""Local endpoints around the example model, and plain requests to them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import httpx2

from audit.ports import ProbeReference
from audit.sweeps.adversaries.adversary import AdversaryTools
from audit.sweeps.adversaries.exchange import Behaviour
from audit.sweeps.adversaries.server import Served
from audit.sweeps.adversaries.thread import LocalServer
from reference_runner.variants import substitutes
from tests.support.example_model import example_reference

MODEL_NAME = "example"

TEXT = "The audit log is append-only, and every entry that it holds is signed by"


@cache
def example_copies() -> dict[str, ProbeReference]:
    """Return the example model and all that may stand in for it."""
    bfloat16 = example_reference("bfloat16")
    copies: dict[str, ProbeReference] = {
        "bfloat16": bfloat16,
        "float32": example_reference("float32"),
    }
    return copies | substitutes(bfloat16, seed=b"tests")


def example_tools(**changes: Any) -> AdversaryTools:
    """Return what adversaries of the example model are made of."""
    return AdversaryTools(copies=example_copies(), **{"seed": b"tests", **changes})


class Client:
    """Posts bodies to one endpoint."""

    def __init__(self, base_url: str, http: httpx2.Client) -> None:
        self.base_url = base_url
        self._http = http

    def post(
        self, path: str, body: object, *, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """Return the response to a JSON body."""
        return self._http.post(self.base_url + path, json=body, headers=headers)

    def post_text(self, path: str, text: str) -> httpx2.Response:
        """Return the response to a body that need not be JSON."""
        return self._http.post(self.base_url + path, content=text)

    def get(self, path: str) -> httpx2.Response:
        """Return the response to a GET."""
        return self._http.get(self.base_url + path)

    def complete(self, prompt: object = TEXT, **members: Any) -> dict[str, Any]:
        """Return the body of an answered completion, 8 tokens at temperature 0 by default."""
        body = {"model": MODEL_NAME, "prompt": prompt, "max_tokens": 8, "temperature": 0}
        return self._answered("/completions", body | {"return_token_ids": True} | members)

    def chat(self, content: str = TEXT, **members: Any) -> dict[str, Any]:
        """Return the body of an answered chat, 8 tokens at temperature 0 by default."""
        messages = [{"role": "user", "content": content}]
        body = {"model": MODEL_NAME, "messages": messages, "max_tokens": 8, "temperature": 0}
        return self._answered("/chat/completions", body | {"return_token_ids": True} | members)

    def token_ids(self, prompt: object = TEXT, **members: Any) -> list[int]:
        """Return the token ids of a completion."""
        ids: list[int] = self.complete(prompt, **members)["choices"][0]["token_ids"]
        return ids

    def all_at_once(self, bodies: Sequence[Callable[[], Any]]) -> list[Any]:
        """Return what the calls return, all of them under way at once, in order."""
        with ThreadPoolExecutor(len(bodies)) as pool:
            return [future.result() for future in [pool.submit(call) for call in bodies]]

    def _answered(self, path: str, body: object) -> dict[str, Any]:
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        members: dict[str, Any] = response.json()
        return members


class StillClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now_s


@contextmanager
def serving(behaviour: Behaviour, **settings: Any) -> Iterator[Client]:
    """Serve a behaviour on loopback while the context lasts."""
    served = Served(model=MODEL_NAME, behaviour=behaviour, **{"clock_s": StillClock(), **settings})
    limits = httpx2.Limits(max_connections=64)
    with LocalServer(served) as server, httpx2.Client(limits=limits, timeout=60.0) as http:
        yield Client(server.base_url, http)
