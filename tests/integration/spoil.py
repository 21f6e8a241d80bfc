"""Ways to spoil a recorded exchange: in place, or by what to write instead of it."""

import json
from collections.abc import Callable
from typing import Any

Line = dict[str, Any]
Spoil = Callable[[Line], object]


def put(value: object, *path: str | int) -> Callable[[Line], None]:
    """Return a change that sets one member."""

    def spoil(line: Any) -> None:
        for key in path[:-1]:
            line = line[key]
        line[path[-1]] = value

    return spoil


def drop(*path: str | int) -> Callable[[Line], None]:
    """Return a change that removes one member."""

    def spoil(line: Any) -> None:
        for key in path[:-1]:
            line = line[key]
        del line[path[-1]]

    return spoil


def without_engine(line: Line) -> None:
    del line["meta"]["engine"]
    line["response"]["system_fingerprint"] = None


def empty(line: Line) -> None:
    line["response"]["choices"][0].update(text="", token_ids=[])


def long_prompt(line: Line) -> None:
    line["request"]["prompt"] = [7] * 5000
    del line["response"]["choices"][0]["prompt_token_ids"]


def other_text(line: Line) -> None:
    del line["response"]["choices"][0]["token_ids"]
    line["response"]["usage"]["completion_tokens"] += 40


def truncated(line: Line) -> str:
    return json.dumps(line)[:700]


def nan(line: Line) -> str:
    return json.dumps(line).replace('"temperature": 1.0', '"temperature": NaN')


def binary(_: Line) -> bytes:
    return bytes((7 * n * n + 131 * n) % 256 for n in range(2048)) + b"\n"


def nested(_: Line) -> str:
    return "[" * 50_000
