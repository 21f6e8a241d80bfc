"""What endpoints answered to the same questions, gathered by question."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.sweep_records import Probe, Probed, ProbeKind
from audit.sweeps.cells.cells import token_of
from audit.sweeps.probe import canonical_text, probe_members
from audit.sweeps.text.samples import answer_text

Answers = Mapping[str, Sequence[str]]
"""Answers by question, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one endpoint answered."""

    cells: Answers
    """One-token answers by prompt."""
    texts: Answers

    def counts(self) -> dict[str, Counter[str]]:
        """Return how often each token came, by prompt."""
        return {prompt: Counter(tokens) for prompt, tokens in self.cells.items()}


def said_by(probed: Sequence[Probed]) -> Said:
    """Return the usable answers to cells and text prompts that were drawn, not greedy."""
    cells: dict[str, list[str]] = {}
    texts: dict[str, list[str]] = {}
    for item in probed:
        if not (item.probe.sampling.temperature or 0.0) > 0.0:
            continue
        if item.probe.kind is ProbeKind.CELL:
            token = token_of(item.answer)
            if token is not None:
                cells.setdefault(_question(item.probe), []).append(token)
        elif item.probe.kind is ProbeKind.TEXT:
            text = answer_text(item.answer)
            if text is not None:
                texts.setdefault(_question(item.probe), []).append(text)
    return Said(cells=cells, texts=texts)


def common(first: Answers, second: Answers, least: int) -> list[str]:
    """Return the questions that both answered at least so often, in order."""
    return sorted(
        question
        for question in set(first) & set(second)
        if min(len(first[question]), len(second[question])) >= least
    )


def prompt_text(question: str) -> str:
    """Return the text of a question's prompt, messages joined."""
    prompt = json.loads(question)["prompt"]
    if prompt["text"] is not None:
        return str(prompt["text"])
    return "\n".join(str(content) for _, content in prompt["messages"] or ())


def _question(probe: Probe) -> str:
    """Return what was asked but for the seed: answers to it are draws of one law."""
    members = probe_members(probe)
    sampling = members["sampling"]
    if not isinstance(sampling, dict):
        raise TypeError("a probe's sampling is an object")
    asked = {name: value for name, value in sampling.items() if name != "seed"}
    return canonical_text(
        {
            "api": members["api"],
            "prompt": members["prompt"],
            "sampling": asked,
            "stop": members["stop"],
            "extras": members["extras"],
        }
    )
