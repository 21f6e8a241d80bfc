"""Named malformed recordings: each a copy of one honest exchange with a single thing wrong.

The files lie in `tests/assets/traffic`, as they would reach the command. Regenerate them from the
honest exchange beside them with `python -m tests.integration.bad_traffic`.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

from audit.records import Reason
from tests.integration import spoil
from tests.integration.spoil import Line, Spoil

ASSETS = Path(__file__).parents[1] / "assets" / "traffic"
HONEST_FILE = ASSETS / "honest.jsonl"

#: Beyond any token that the example model knows, and within what engines can name.
NO_SUCH_TOKEN = 1_000_000
OTHER_DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One bad recording: what is done to the honest line, and how it must be told."""

    name: str
    reason: Reason
    says: str
    """A regular expression for the details: what is wrong, or what to do."""
    spoil: Spoil
    """Changes the line in place, or returns the text or bytes to write instead."""

    @property
    def path(self) -> Path:
        """Where the recording lies."""
        return ASSETS / f"{self.name}.jsonl"


CHOICE = ("response", "choices", 0)

CASES = (
    Case(
        name="profile_unknown",
        reason=Reason.PROFILE_UNKNOWN,
        says="known are: .*vllm-cpu-splitmix64",
        spoil=spoil.put({"sampler_profile": "vllm-v9-quantum"}, "claim"),
    ),
    Case(
        name="engine_not_stated",
        reason=Reason.PROFILE_UNKNOWN,
        says="--profile|meta",
        spoil=spoil.without_engine,
    ),
    Case(
        name="engine_unknown",
        reason=Reason.PROFILE_UNKNOWN,
        says="see .inference-audit profiles",
        spoil=lambda line: (
            line["meta"].update(engine="mystery-engine")
            or line["response"].update(system_fingerprint=None)
        ),
    ),
    Case(
        name="seed_missing",
        reason=Reason.SEED_MISSING,
        says="send a seed",
        spoil=spoil.drop("request", "seed"),
    ),
    Case(
        name="token_out_of_vocabulary",
        reason=Reason.TOKEN_OUT_OF_VOCABULARY,
        says=f"output token id {NO_SUCH_TOKEN} is not in the model's vocabulary of 4096",
        spoil=spoil.put(NO_SUCH_TOKEN, *CHOICE, "token_ids", 5),
    ),
    Case(
        name="token_negative",
        reason=Reason.INVALID_EXCHANGE,
        says=r"ids\[5\]: is -1; give 0 to",
        spoil=spoil.put(-1, *CHOICE, "token_ids", 5),
    ),
    Case(
        name="output_empty",
        reason=Reason.OUTPUT_EMPTY,
        says="nothing to compare",
        spoil=spoil.empty,
    ),
    Case(
        name="prompt_longer_than_the_model",
        reason=Reason.CONTEXT_EXCEEDED,
        says="hold 5174 tokens, the model's context 1024",
        spoil=spoil.long_prompt,
    ),
    Case(
        name="temperature_nan",
        reason=Reason.INVALID_EXCHANGE,
        says="NaN is not a JSON number",
        spoil=spoil.nan,
    ),
    Case(
        name="temperature_negative",
        reason=Reason.INVALID_EXCHANGE,
        says="temperature: is -0.5; give a finite number from 0",
        spoil=spoil.put(-0.5, "request", "temperature"),
    ),
    Case(
        name="weights_digest_mismatch",
        reason=Reason.WEIGHTS_DIGEST_MISMATCH,
        says="audit against the checkpoint that was claimed",
        spoil=spoil.put({"weights_digest": OTHER_DIGEST}, "claim"),
    ),
    Case(
        name="precision_unsupported",
        reason=Reason.PRECISION_UNSUPPORTED,
        says="int3.*bfloat16",
        spoil=spoil.put("int3", "meta", "dtype"),
    ),
    Case(
        name="parameter_unsupported",
        reason=Reason.PARAMETER_UNSUPPORTED,
        says="send audit requests without it",
        spoil=spoil.put(0.5, "request", "presence_penalty"),
    ),
    Case(
        name="prompt_tokens_differ",
        reason=Reason.PROMPT_TOKENS_DIFFER,
        says="send token ids",
        spoil=spoil.put([1, 2, 3], *CHOICE, "prompt_token_ids"),
    ),
    Case(
        name="tokens_ambiguous",
        reason=Reason.TOKENS_AMBIGUOUS,
        says="record token ids",
        spoil=spoil.other_text,
    ),
    Case(
        name="truncated_line",
        reason=Reason.INVALID_EXCHANGE,
        says="cut short",
        spoil=spoil.truncated,
    ),
    Case(
        name="binary_garbage",
        reason=Reason.INVALID_EXCHANGE,
        says="not UTF-8|not valid JSON",
        spoil=spoil.binary,
    ),
    Case(
        name="nested_too_deeply",
        reason=Reason.INVALID_EXCHANGE,
        says="nested too deeply",
        spoil=spoil.nested,
    ),
    Case(
        name="not_an_exchange",
        reason=Reason.INVALID_EXCHANGE,
        says='must hold "request" and "response"',
        spoil=lambda line: '{"hello": "world"}',
    ),
    Case(
        name="provider_answered_an_error",
        reason=Reason.INVALID_EXCHANGE,
        says="answered with an error",
        spoil=spoil.put({"error": {"message": "overloaded", "code": 529}}, "response"),
    ),
    Case(
        name="temperature_is_text",
        reason=Reason.INVALID_EXCHANGE,
        says="request.temperature: must be a number, found a string",
        spoil=spoil.put("hot", "request", "temperature"),
    ),
    Case(
        name="prompt_is_a_number",
        reason=Reason.INVALID_EXCHANGE,
        says="request.prompt: must be one text or one list of token ids",
        spoil=spoil.put(5, "request", "prompt"),
    ),
    Case(
        name="token_is_text",
        reason=Reason.INVALID_EXCHANGE,
        says=r"token_ids\[5\]: must be a token id, found a string",
        spoil=spoil.put("def", *CHOICE, "token_ids", 5),
    ),
    Case(
        name="response_is_a_list",
        reason=Reason.INVALID_EXCHANGE,
        says="line.response: must be an object, found a list",
        spoil=spoil.put([], "response"),
    ),
    Case(
        name="seed_beyond_64_bits",
        reason=Reason.INVALID_EXCHANGE,
        says="request.seed: does not fit 64 bits",
        spoil=spoil.put(2**70, "request", "seed"),
    ),
)


def honest_line() -> Line:
    """Return the honest exchange that all cases spoil."""
    line = json.loads(HONEST_FILE.read_text(encoding="utf-8"))
    assert isinstance(line, dict)
    return line


def content_of(case: Case) -> bytes:
    """Return what the case's file holds."""
    line = copy.deepcopy(honest_line())
    instead = case.spoil(line)
    if isinstance(instead, bytes):
        return instead
    text = instead if isinstance(instead, str) else json.dumps(line)
    return text.encode() + b"\n"


def main() -> None:
    """Write every file anew."""
    for case in CASES:
        case.path.write_bytes(content_of(case))


if __name__ == "__main__":
    main()
