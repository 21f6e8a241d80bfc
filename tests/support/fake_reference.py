"""A reference without a model: its tokenizer knows words by their length, its replay agrees."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from audit.errors import CannotJudge
from audit.ports import Reference
from audit.records import Claim, Exchange, Output, Prompt, ProviderClaims, SamplingRequest
from reference_runner.records import Evidence, ReferenceInfo, ReplayBatch
from tests.support.measurements import evidence_of, info_of


@dataclass(slots=True, kw_only=True)
class FakeReference:
    """Satisfies the Reference port; `texts` maps answers to the ids that it recovers from them."""

    generation_defaults: dict[str, float] = field(default_factory=dict)
    info: ReferenceInfo = field(default_factory=info_of)
    texts: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    error: Exception | None = None

    def tokenize_text(self, text: str) -> tuple[int, ...]:
        """Return one id per word."""
        return tuple(len(word) for word in text.split())

    def tokenize_messages(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        """Return the ids of all contents behind a template's id."""
        return (99, *self.tokenize_text(" ".join(m["content"] for m in messages)))

    def tokenize_output(self, text: str) -> tuple[int, ...] | None:
        """Return the ids handed in, or one id per word."""
        return self.texts.get(text, self.tokenize_text(text))

    def replay(self, batch: ReplayBatch) -> tuple[tuple[Evidence, ...], ...]:
        """Return evidence that agrees throughout."""
        if self.error is not None:
            raise self.error
        return tuple(
            tuple(
                evidence_of(np.zeros(len(s.output_token_ids)), profile_id=p) for p in s.profile_ids
            )
            for s in batch.sequences
        )


@dataclass(slots=True, kw_only=True)
class FakeLibrary:
    """Hands out one reference, or refuses."""

    reference: FakeReference = field(default_factory=FakeReference)
    refusal: CannotJudge | None = None

    def open(self, claim: Claim) -> Reference:
        """Return the reference, whatever is claimed."""
        if self.refusal is not None:
            raise self.refusal
        return self.reference


def exchange_with(
    *,
    prompt: Prompt | None = None,
    output: Output | None = None,
    sampling: SamplingRequest | None = None,
    provider: ProviderClaims | None = None,
) -> Exchange:
    """Return an exchange with vLLM 0.32 on CPU at temperature 0.7, all parameters stated."""
    return Exchange(
        prompt=prompt or Prompt(token_ids=(1, 2)),
        output=output or Output(token_ids=(3, 4)),
        sampling=sampling or SamplingRequest(temperature=0.7, top_k=0, top_p=1.0, seed=5),
        provider=provider or ProviderClaims(engine="vllm", engine_version="0.32.0", device="cpu"),
    )
