"""Each identity of a bill: when it holds, when it is violated, when it cannot be told.

The vocabulary is a made-up one, in which each byte is a token, so that counts can be read off.
"""

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from audit.billing_records import (
    BilledRequest,
    BilledUsage,
    OpaqueEvidence,
    Refusal,
    UsageSchema,
    Violation,
)
from audit.hidden_tokens.facts import Facts, parse_facts
from audit.hidden_tokens.identities import check_accounting
from audit.hidden_tokens.vocabularies import NoVocabularies, TokenCounter, Vocabularies

RANKS = b"\n".join(b"%s %d" % (base64.b64encode(bytes([i])), i) for i in range(256))
PROVENANCE = 'source = "made up"\ndate = "2026-01-01"\nnum_rows = 0'
FACTS = f"""
version = "test"

[[model]]
name = "stepper"
family = "made-up"
patterns = ["stepper", "stepper-2026-*"]
vocabulary = "bytes"
[model.envelope]
low_tokens = 0
high_tokens = 10
visible_share = 0.5
{PROVENANCE}
[model.lattice]
step_tokens = 64
{PROVENANCE}
[model.output_cap]
max_tokens = 5000
{PROVENANCE}
[model.disclosure]
vocabulary = "bytes"
low_ratio = 0.9
high_ratio = 1.1
slack_tokens = 2
{PROVENANCE}

[[vocabulary]]
name = "bytes"
file_names = ["bytes.tiktoken"]
sha256 = "{hashlib.sha256(RANKS).hexdigest()}"
split_pattern = '''[\\s\\S]'''
{PROVENANCE}

[[budget]]
schema = "vllm"
slack_tokens = 4
{PROVENANCE}
"""

#: 640 of reasoning, 20 of answer, 5 around them.
USAGE = BilledUsage(
    schema=UsageSchema.OPENAI_CHAT,
    prompt_tokens=10,
    output_tokens=665,
    reasoning_tokens=640,
    total_tokens=675,
)
HONEST = BilledRequest(
    request_id="r",
    account="acme",
    provider="p",
    model="stepper",
    usage=USAGE,
    observed_at="2026-01-02T03:04:05Z",
    answer="a" * 20,
    max_output_tokens=665,
    disclosed_reasoning="b" * 640,
    streamed_usage=USAGE,
)


@pytest.fixture
def facts() -> Facts:
    return parse_facts(FACTS)


@pytest.fixture
def counter(facts: Facts, tmp_path: Path) -> TokenCounter:
    (tmp_path / "bytes.tiktoken").write_bytes(RANKS)
    return Vocabularies(tmp_path, facts.vocabularies)


def billed(request: BilledRequest = HONEST, **counts: int | None) -> BilledRequest:
    """Return a request with other counts; the stream's usage goes."""
    changed = {name: getattr(USAGE, name) for name in ("prompt_tokens", "total_tokens")}
    usage = replace(request.usage, **{**changed, "total_tokens": None, **counts})
    return replace(request, usage=usage, streamed_usage=None, max_output_tokens=None)


def violated(request: BilledRequest, facts: Facts, counter: TokenCounter) -> list[Violation]:
    violations, _, _ = check_accounting(request, facts, counter)
    return list(violations)


def test_an_honest_bill_holds(facts: Facts, counter: TokenCounter) -> None:
    violations, holding, unchecked = check_accounting(HONEST, facts, counter)
    assert violations == ()
    assert set(holding) == {
        *("total_sum", "output_sum", "completion_sum", "lattice", "max_output_tokens"),
        *("model_cap", "stream_differs", "chain_recount"),
    }
    assert [one.reason for one in unchecked] == [Refusal.NO_EVIDENCE]
    assert unchecked[0].detail == "thinking_budget: no thinking budget is stated"


@pytest.mark.parametrize(
    ("counts", "identity", "excess", "words"),
    [
        ({"total_tokens": 700}, "total_sum", 25, "differs by \\+25"),
        ({"total_tokens": 670}, "total_sum", -5, "differs by -5"),
        ({"total_tokens": 675 + 640}, "double_counting", 640, "640 were added once more"),
        ({"output_tokens": 665 + 640}, "double_counting", 640, "as gateways do by mistake"),
        ({"output_tokens": 681}, "completion_sum", 1, "leaves 21, and between 0 and 20 can be"),
        ({"output_tokens": 659}, "completion_sum", -1, "leaves -1, and between 0 and 20 can be"),
    ],
)
def test_sums_that_cannot_be(
    counts: dict[str, int],
    identity: str,
    excess: int,
    words: str,
    facts: Facts,
    counter: TokenCounter,
) -> None:
    (found,) = violated(billed(HONEST, **counts), facts, counter)
    assert (found.identity, found.excess_tokens) == (identity, excess)
    assert re.search(words, found.statement)


def test_more_reasoning_than_output(facts: Facts, counter: TokenCounter) -> None:
    found = violated(billed(output_tokens=600), facts, counter)
    assert (found[0].identity, found[0].excess_tokens) == ("output_sum", 40)
    assert found[0].statement.startswith("640 reasoning tokens are more than the 600")


def test_parts_stated_beside_each_other_make_the_output(
    facts: Facts, counter: TokenCounter
) -> None:
    apart = replace(USAGE, schema=UsageSchema.XAI, stated_completion_tokens=25)
    assert violated(replace(HONEST, usage=apart), facts, counter) == []
    wrong = replace(HONEST, usage=replace(apart, stated_completion_tokens=20))
    (found,) = violated(wrong, facts, counter)
    assert (found.identity, found.excess_tokens) == ("output_sum", 5)


def test_a_count_between_two_steps(facts: Facts, counter: TokenCounter) -> None:
    request = replace(billed(reasoning_tokens=646, output_tokens=671), model="stepper-2026-05")
    found = violated(replace(request, disclosed_reasoning=None), facts, counter)
    assert [(one.identity, one.excess_tokens) for one in found] == [("lattice", 6)]
    assert found[0].statement == (
        "646 reasoning tokens are no multiple of 64, in which stepper is metered"
    )


def test_caps(facts: Facts, counter: TokenCounter) -> None:
    (found,) = violated(replace(HONEST, max_output_tokens=600), facts, counter)
    assert (found.identity, found.excess_tokens) == ("max_output_tokens", 65)
    long = billed(reasoning_tokens=6400, output_tokens=6425)
    (found,) = violated(replace(long, disclosed_reasoning=None), facts, counter)
    assert (found.identity, found.excess_tokens) == ("model_cap", 1425)


def test_a_budget_counts_where_servers_enforce_it(facts: Facts, counter: TokenCounter) -> None:
    request = replace(HONEST, thinking_budget_tokens=600)
    _, _, unchecked = check_accounting(request, facts, counter)
    assert [(one.reason, one.detail.partition(":")[0]) for one in unchecked] == [
        (Refusal.NO_SIGNAL, "thinking_budget")
    ]
    enforced = replace(request, usage=replace(USAGE, schema=UsageSchema.VLLM))
    (found,) = violated(enforced, facts, counter)
    assert (found.identity, found.excess_tokens) == ("thinking_budget", 40)
    assert violated(replace(enforced, thinking_budget_tokens=636), facts, counter) == []


def test_the_stream_said_something_else(facts: Facts, counter: TokenCounter) -> None:
    streamed = replace(USAGE, reasoning_tokens=576)
    (found,) = violated(replace(HONEST, streamed_usage=streamed), facts, counter)
    assert (found.identity, found.excess_tokens) == ("stream_differs", 64)
    assert found.statement == "640 reasoning tokens were billed; the stream said 576"
    silent = replace(USAGE, reasoning_tokens=None, total_tokens=None)
    assert violated(replace(HONEST, streamed_usage=silent), facts, counter) == []


def test_a_shown_chain_is_counted_again(facts: Facts, counter: TokenCounter) -> None:
    (found,) = violated(replace(HONEST, disclosed_reasoning="b" * 500), facts, counter)
    assert (found.identity, found.excess_tokens) == ("chain_recount", 640 - 552)
    assert "for a chain of 500 by bytes; between 448 and 552 can be" in found.statement


def unchecked_of(request: BilledRequest, facts: Facts, counter: TokenCounter) -> dict[str, Refusal]:
    violations, _, unchecked = check_accounting(request, facts, counter)
    assert violations == ()
    return {one.detail.partition(":")[0]: one.reason for one in unchecked}


def test_without_evidence_nothing_is_said(facts: Facts, counter: TokenCounter) -> None:
    bare = replace(billed(reasoning_tokens=None), answer=None, disclosed_reasoning=None)
    found = unchecked_of(bare, facts, counter)
    assert found["completion_sum"] == found["lattice"] == found["output_sum"] == Refusal.NO_COUNT
    assert found["total_sum"] == found["stream_differs"] == Refusal.NO_EVIDENCE
    no_answer = unchecked_of(replace(HONEST, answer=None), facts, counter)
    assert no_answer["completion_sum"] == Refusal.NO_EVIDENCE
    tools = replace(HONEST, opaque=OpaqueEvidence(has_builtin_tools=True))
    assert unchecked_of(tools, facts, counter)["completion_sum"] == Refusal.NO_EVIDENCE


def test_unknown_models_middlemen_and_missing_vocabularies(
    facts: Facts, counter: TokenCounter
) -> None:
    unknown = unchecked_of(replace(HONEST, model="stepper-mini"), facts, counter)
    for identity in ("completion_sum", "lattice", "chain_recount"):
        assert unknown[identity] == Refusal.UNKNOWN_MODEL
    middleman = replace(billed(reasoning_tokens=641), is_aggregator=True, max_output_tokens=9)
    found = unchecked_of(middleman, facts, counter)
    for identity in ("completion_sum", "lattice", "max_output_tokens", "chain_recount"):
        assert found[identity] == Refusal.NOT_A_METER_READING
    absent = unchecked_of(HONEST, facts, NoVocabularies())
    assert absent["completion_sum"] == absent["chain_recount"] == Refusal.VOCABULARY_MISSING
    blank = unchecked_of(replace(HONEST, answer=" " * 10_000), facts, counter)
    assert blank["completion_sum"] == Refusal.UNREADABLE_EVIDENCE


def test_thoughts_that_only_the_total_holds_cannot_be_told(
    facts: Facts, counter: TokenCounter
) -> None:
    usage = replace(USAGE, schema=UsageSchema.GEMINI, reasoning_tokens=None, total_tokens=900)
    request = replace(HONEST, usage=usage, streamed_usage=None)
    assert unchecked_of(request, facts, counter)["total_sum"] == Refusal.NO_COUNT
