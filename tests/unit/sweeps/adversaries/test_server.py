"""The honest server over real HTTP: bodies, refusals, streams, batches."""

import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from audit.errors import ConfigurationError
from audit.sweeps.adversaries.answering import Engine, cut_at_stop
from audit.sweeps.adversaries.server import Served
from audit.sweeps.adversaries.thread import LocalServer
from reference_runner.records import GenerationRequest, Sampling
from tests.support.endpoints import MODEL_NAME, TEXT, Client, example_tools, serving
from tests.support.example_model import example_reference

SEEDED = {"temperature": 0.8, "top_p": 0.9, "top_k": 50, "seed": 7, "max_tokens": 12}


@pytest.fixture(scope="module")
def honest() -> Iterator[Client]:
    """Return an honest endpoint that takes requests one by one."""
    with serving(example_tools().engine(batch_size=1), system_fingerprint="local-1") as client:
        yield client


def drawn(text: str, sampling: Sampling, num_tokens: int, profile_id: str) -> list[int]:
    """Return what the reference draws by itself."""
    reference = example_reference("bfloat16")
    request = GenerationRequest(
        prompt_token_ids=reference.tokenize_text(text),
        sampling=sampling,
        profile_id=profile_id,
        num_tokens=num_tokens,
        stops_at=reference.end_token_ids,
    )
    return list(reference.generate([request], batch_size=1)[0])


def test_lists_its_model(honest: Client) -> None:
    body = honest.get("/models").json()
    assert [model["id"] for model in body["data"]] == [MODEL_NAME]
    assert body["data"][0]["max_model_len"] == 1024


@pytest.mark.parametrize("profile_id", ["torch-cpu-exponential", "vllm-cpu-splitmix64"])
def test_seeded_answer_is_the_references_own(profile_id: str) -> None:
    sampling = Sampling(temperature=0.8, top_p=0.9, top_k=50, seed=7)
    with serving(example_tools(profile_id=profile_id).engine(batch_size=1)) as client:
        assert client.token_ids(**SEEDED) == drawn(TEXT, sampling, 12, profile_id)


def test_completion_states_ids_usage_and_fingerprint(honest: Client) -> None:
    reference = example_reference("bfloat16")
    body = honest.complete()
    choice = body["choices"][0]
    prompt = list(reference.tokenize_text(TEXT))
    assert choice["prompt_token_ids"] == prompt
    assert choice["text"] == reference.decode(tuple(choice["token_ids"]))
    assert choice["finish_reason"] == "length"
    num_prompt = len(prompt)
    assert body["usage"] == {
        "prompt_tokens": num_prompt,
        "completion_tokens": 8,
        "total_tokens": num_prompt + 8,
    }
    assert (body["model"], body["system_fingerprint"]) == (MODEL_NAME, "local-1")
    assert "provider" not in body


def test_ids_are_given_only_where_asked_for(honest: Client) -> None:
    body = honest.complete(return_token_ids=False)
    assert body["choices"][0]["token_ids"] is None
    assert body["choices"][0]["prompt_token_ids"] is None


def test_token_prompt_equals_its_text(honest: Client) -> None:
    prompt = list(example_reference("bfloat16").tokenize_text(TEXT))
    assert honest.token_ids(prompt) == honest.token_ids(TEXT) == honest.token_ids([prompt])


def test_chat_uses_the_models_template(honest: Client) -> None:
    reference = example_reference("bfloat16")
    body = honest.chat("Hello")
    expected = reference.tokenize_messages([{"role": "user", "content": "Hello"}])
    assert body["prompt_token_ids"] == list(expected)
    choice = body["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == reference.decode(tuple(choice["token_ids"]))


def test_unseeded_requests_draw_afresh_and_again_the_same_on_another_server() -> None:
    def answers() -> list[list[int]]:
        with serving(example_tools().engine(batch_size=1)) as client:
            return [client.token_ids(temperature=1.0) for _ in range(4)]

    first, second = answers(), answers()
    assert len({tuple(ids) for ids in first}) > 1
    assert first == second


def test_end_token_ends_the_answer_unless_ignored(honest: Client) -> None:
    end = example_reference("bfloat16").end_token_ids
    ended = 0
    for seed in range(40):
        members: dict[str, Any] = {"temperature": 1.5, "max_tokens": 40, "seed": seed}
        body = honest.complete("return x\n", **members)["choices"][0]
        if body["token_ids"][-1] in end:
            ended += 1
            assert body["finish_reason"] == "stop"
            longer = honest.token_ids("return x\n", ignore_eos=True, **members)
            assert len(longer) == 40
            assert longer[: len(body["token_ids"])] == body["token_ids"]
            break
    assert ended


def test_stop_string_is_cut_off_and_its_tokens_counted(honest: Client) -> None:
    whole = honest.complete(max_tokens=16)["choices"][0]["text"]
    word = whole[5:8]
    body = honest.complete(max_tokens=16, stop=[word])
    choice = body["choices"][0]
    assert choice["text"] == whole[: whole.find(word)]
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == len(choice["token_ids"]) < 16


def test_the_first_of_several_stop_strings_counts() -> None:
    assert cut_at_stop(("ab", "cd", "ef"), ("d", "c")) == (2, ("ab", ""), True)
    assert cut_at_stop(("ab", "cd", "ef"), ("de",)) == (3, ("ab", "c", ""), True)
    assert cut_at_stop(("ab", "cd"), ("x",)) == (2, ("ab", "cd"), False)


def test_completion_logprobs(honest: Client) -> None:
    choice = honest.complete(logprobs=3, temperature=1.0, seed=5)["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    reference = example_reference("bfloat16")
    prompt, ids = tuple(choice["prompt_token_ids"]), tuple(choice["token_ids"])
    expected = reference.top_logprobs(prompt, ids, 3)
    assert logprobs["token_logprobs"] == expected.claimed_logprob_nats_R.tolist()
    for row, top in enumerate(logprobs["top_logprobs"]):
        assert next(iter(top)) == logprobs["tokens"][row]
        assert sorted(top.values(), reverse=True)[:3] == expected.logprob_nats_RK[row].tolist()
        assert sum(map(math.exp, top.values())) <= 1.0
    assert logprobs["text_offset"][1] == len(logprobs["tokens"][0])


def test_logprobs_zero_gives_the_drawn_token_alone(honest: Client) -> None:
    tops = honest.complete(logprobs=0)["choices"][0]["logprobs"]["top_logprobs"]
    assert {len(top) for top in tops} == {1}


def test_logprobs_name_ids_where_asked_for(honest: Client) -> None:
    choice = honest.complete(logprobs=1, return_tokens_as_token_ids=True)["choices"][0]
    assert choice["logprobs"]["tokens"] == [f"token_id:{i}" for i in choice["token_ids"]]


def test_chat_logprobs(honest: Client) -> None:
    content = honest.chat(logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    assert len(content) == 8
    for row in content:
        assert [row["token"], row["logprob"]] == [
            row["top_logprobs"][0]["token"],
            row["top_logprobs"][0]["logprob"],
        ]
        assert len(row["top_logprobs"]) == 2
        assert bytes(row["bytes"]).decode() == row["token"]


@pytest.mark.parametrize("path", ["/completions", "/chat/completions"])
def test_stream_adds_up_to_the_whole_answer(honest: Client, path: str) -> None:
    asked: dict[str, Any] = {"model": MODEL_NAME, "return_token_ids": True, **SEEDED}
    if path == "/completions":
        asked |= {"prompt": TEXT, "logprobs": 1}
    else:
        asked |= {"messages": [{"role": "user", "content": TEXT}], "logprobs": True}
    whole = honest.post(path, asked).json()
    streamed = honest.post(
        path, asked | {"stream": True, "stream_options": {"include_usage": True}}
    )
    assert streamed.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert chunks.pop()["usage"] == whole["usage"]
    choices = [chunk["choices"][0] for chunk in chunks]
    ids = [token for choice in choices for token in choice["token_ids"]]
    assert ids == whole["choices"][0]["token_ids"]
    said = [c["text"] if path == "/completions" else c["delta"]["content"] for c in choices]
    message = whole["choices"][0]
    assert "".join(said) == (
        message["text"] if "text" in message else message["message"]["content"]
    )
    assert [c["finish_reason"] for c in choices] == [None] * (len(choices) - 1) + ["length"]


REFUSED: list[tuple[dict[str, object], str, str]] = [
    ({"prompt": 5}, "prompt", "one text, or one list of token ids"),
    ({"prompt": []}, "prompt", "one text, or one list of token ids"),
    ({"prompt": ["a", "b"]}, "prompt", "one text, or one list of token ids"),
    ({"temperature": -1}, "temperature", "at least 0 and at most 2"),
    ({"temperature": "hot"}, "temperature", "must be a number"),
    ({"top_p": 0}, "top_p", "above 0"),
    ({"top_k": 1.5}, "top_k", "whole number"),
    ({"max_tokens": 0}, "max_tokens", "at least 1"),
    ({"max_tokens": True}, "max_tokens", "whole number"),
    ({"logprobs": 21}, "logprobs", "at most 20"),
    ({"seed": 1 << 63}, "seed", "at most"),
    ({"stop": [1]}, "stop", "a text or a list of texts"),
    ({"n": 2}, "n", "not supported"),
    ({"min_p": 0.1}, "min_p", "not supported"),
    ({"stream": "yes"}, "stream", "true or false"),
    ({"model": None}, "model", "must be text"),
]


@pytest.mark.parametrize(("change", "param", "words"), REFUSED)
def test_bad_members_are_refused_by_name(
    honest: Client, change: dict[str, object], param: str, words: str
) -> None:
    response = honest.post("/completions", {"model": MODEL_NAME, "prompt": TEXT} | change)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, 400, param)
    assert words in error["message"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"model": "example", "prompt": "x", "temperature": NaN}', "at least 0"),
        ('{"model": "example", ', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\ud7ff", "not JSON"),
    ],
)
def test_broken_bodies_are_refused(honest: Client, text: str, words: str) -> None:
    response = honest.post_text("/completions", text)
    assert (response.status_code, words in response.text) == (400, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": []}, "list of messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "role and content"),
        ({"top_logprobs": 3}, "needs logprobs"),
    ],
)
def test_bad_chats_are_refused(honest: Client, change: dict[str, object], words: str) -> None:
    body = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "Hi"}]}
    response = honest.post("/chat/completions", body | change)
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


def test_what_the_model_cannot_take_is_refused(honest: Client) -> None:
    asked = {"model": MODEL_NAME, "prompt": [5] * 1000, "max_tokens": 100}
    too_long = honest.post("/completions", asked)
    assert (too_long.status_code, "context" in too_long.text) == (400, True)
    unknown = honest.post("/completions", {"model": MODEL_NAME, "prompt": [99999]})
    assert (unknown.status_code, "vocabulary" in unknown.text) == (400, True)
    other = honest.post("/completions", {"model": "other", "prompt": TEXT})
    assert (other.status_code, other.json()["error"]["param"]) == (404, "model")
    with_list = honest.post("/completions", [1])
    assert (with_list.status_code, "JSON object" in with_list.text) == (400, True)


def test_key_is_needed_where_one_is_set() -> None:
    with serving(example_tools().engine(), api_key="k-1") as client:
        body = {"model": MODEL_NAME, "prompt": TEXT, "max_tokens": 1}
        assert client.post("/completions", body).status_code == 401
        assert client.get("/models").status_code == 401
        named = {"Authorization": "Bearer k-1"}
        assert client.post("/completions", body, headers=named).status_code == 200


def test_requests_at_once_share_passes_and_each_gets_its_own_answer() -> None:
    prompts = [f"{TEXT} number {i}" for i in range(24)]
    bad = {"model": MODEL_NAME, "prompt": [99999], "max_tokens": 1}
    with serving(example_tools().engine(batch_size=8)) as client:
        calls: list[Callable[[], Any]] = [partial(client.complete, prompt) for prompt in prompts]
        calls.insert(3, lambda: client.post("/completions", bad).status_code)
        answers = client.all_at_once(calls)
    assert answers.pop(3) == 400
    same = 0
    for prompt, body in zip(prompts, answers, strict=True):
        choice = body["choices"][0]
        assert choice["prompt_token_ids"] == list(
            example_reference("bfloat16").tokenize_text(prompt)
        )
        greedy = Sampling(temperature=0.0, top_p=1.0, top_k=0, seed=None)
        same += choice["token_ids"] == drawn(prompt, greedy, 8, "greedy")
    # the last bits depend on who shares a pass, so a near tie may fall the other way
    assert same >= 20


def test_two_servers_run_side_by_side_and_stop() -> None:
    tools = example_tools()
    with serving(tools.engine()) as one, serving(tools.engine("sibling")) as two:
        assert one.base_url != two.base_url
        assert one.token_ids(max_tokens=24) != two.token_ids(max_tokens=24)


def test_base_url_needs_a_running_server() -> None:
    engine = Engine(example_reference("bfloat16"), seed=b"x")
    server = LocalServer(Served(model=MODEL_NAME, behaviour=engine, clock_s=lambda: 0.0))
    with pytest.raises(ConfigurationError, match="enter it with"):
        _ = server.base_url


@pytest.mark.parametrize("missing", ["uvicorn", "starlette.applications"])
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    for name in ("server", "thread"):
        monkeypatch.delitem(sys.modules, f"audit.sweeps.adversaries.{name}")
    with pytest.raises(ConfigurationError, match=r"starlette and uvicorn.*\[sweeps\]"):
        importlib.import_module("audit.sweeps.adversaries.thread")
