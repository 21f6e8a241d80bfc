"""Makes honest traffic with the reference itself, in several numeric variants, and replays it.

For a calibration where no recorded traffic is known to be honest. The reference answers the prompts
as a provider would, with a key-value cache, in batches, with other attention kernels; what then
differs from its own replay is honest arithmetic and nothing else. It cannot know another engine's
kernels: recorded traffic of the provider's own engine is worth more.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from audit.errors import ConfigurationError
from audit.ports import Reference
from audit.records import Measurement, ReplayPlan
from reference_runner.errors import BadSequence
from reference_runner.records import GenerationRequest, ReplayBatch, ReplaySequence, Sampling

#: (batch size, attention kernels) of the variants at the reference's own precision.
ARRANGEMENTS = ((1, "sdpa"), (16, "sdpa"), (1, "eager"), (16, "eager"))

TEMPERATURES = (0.0, 0.7, 1.0)
FILTERS = ((0, 1.0), (50, 1.0), (0, 0.95), (50, 0.95))
MAX_SEED = 2**31 - 1

#: A prompt keeps so many tokens at most, which leaves room for the answer.
MAX_PROMPT_TOKENS = 256

OpenVariant = Callable[[str, str], Reference]
"""Loads the checkpoint at a precision with an attention kernel."""

Generate = Callable[[Reference, Sequence[GenerationRequest], int], list[tuple[int, ...]]]
"""Answers requests with a reference, so many in a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericVariant:
    """One way of computing the same model."""

    precision: str
    attention: str
    batch_size: int

    @property
    def name(self) -> str:
        """Short name, such as `bfloat16-sdpa-batch-16`."""
        return f"{self.precision}-{self.attention}-batch-{self.batch_size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestTraffic:
    """Generates and replays honest exchanges."""

    open_variant: OpenVariant
    generate: Generate
    profile_id: str
    num_tokens: int
    seed: int = 0

    def measure(
        self, reference: Reference, variant: NumericVariant, prompts: Sequence[str]
    ) -> Iterator[Measurement]:
        """Yield one measurement for each prompt that the model can take.

        Raises: CheckpointError where the variant cannot be loaded.
        """
        provider = self.open_variant(variant.precision, variant.attention)
        requests = self._requests(reference, variant, prompts)
        for start in range(0, len(requests), variant.batch_size):
            batch = requests[start : start + variant.batch_size]
            answers = self.generate(provider, batch, variant.batch_size)
            for request, answer in zip(batch, answers, strict=True):
                yield _replay(reference, request, answer)

    def _requests(
        self, reference: Reference, variant: NumericVariant, prompts: Sequence[str]
    ) -> list[GenerationRequest]:
        rng = random.Random(f"{self.seed} {variant.name}")  # noqa: S311  a draw, not a secret
        found: list[GenerationRequest] = []
        for index, prompt in enumerate(prompts):
            ids = _prompt_ids(reference, prompt)
            num_tokens = min(self.num_tokens, reference.info.max_positions - len(ids))
            if not ids or num_tokens < 1:
                continue
            found.append(
                GenerationRequest(
                    prompt_token_ids=ids,
                    sampling=_sampling(index, rng.randint(1, MAX_SEED)),
                    profile_id=self.profile_id,
                    num_tokens=num_tokens,
                )
            )
        if not found:
            raise ConfigurationError("no prompt holds any token; give a file with one a line")
        return found


def numeric_variants(precision: str, tolerated: Sequence[str]) -> tuple[NumericVariant, ...]:
    """Return the variants that count as honest: the reference's precision, and tolerated ones."""
    own = tuple(
        NumericVariant(precision=precision, attention=attention, batch_size=batch_size)
        for batch_size, attention in ARRANGEMENTS
    )
    others = tuple(
        NumericVariant(precision=other, attention="sdpa", batch_size=16)
        for other in tolerated
        if other != precision
    )
    return own + others


def _sampling(index: int, seed: int) -> Sampling:
    """Return the sampling of prompt number `index`; the mix goes round."""
    cell = index % (len(TEMPERATURES) * len(FILTERS))
    top_k, top_p = FILTERS[cell % len(FILTERS)]
    temperature = TEMPERATURES[cell // len(FILTERS)]
    return Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)


def _prompt_ids(reference: Reference, prompt: str) -> tuple[int, ...]:
    try:
        return reference.tokenize_text(prompt)[:MAX_PROMPT_TOKENS]
    except BadSequence:
        return ()


def _replay(
    reference: Reference, request: GenerationRequest, answer: tuple[int, ...]
) -> Measurement:
    sequence = ReplaySequence(
        prompt_token_ids=request.prompt_token_ids,
        output_token_ids=answer,
        sampling=request.sampling,
        profile_ids=(request.profile_id,),
    )
    (evidences,) = reference.replay(ReplayBatch(sequences=(sequence,)))
    plan = ReplayPlan(sequence=sequence, ids_inferred=False, assumed_parameters=(), notes=())
    return Measurement(plan=plan, evidences=evidences, info=reference.info)
