"""What is recorded: one `Plan` per file, with what each provider claims and really does.

A plan is data only. `bodies.py` turns it into request bodies, `record.py` sends them.
"""

from dataclasses import dataclass, replace
from enum import Enum

GREEDY = 0.0
NO_FILTER = (0, 1.0)
TOP_K_ONLY = (50, 1.0)
TOP_P_ONLY = (0, 0.95)
TOP_K_AND_TOP_P = (50, 0.95)
ALL_TEMPERATURES = (GREEDY, 0.7, 1.0)
ALL_FILTERS = (NO_FILTER, TOP_K_ONLY, TOP_P_ONLY, TOP_K_AND_TOP_P)
NUM_CHEAT_TOKENS = 300


class Source(Enum):
    """Who answers."""

    VLLM = "vllm"
    TRANSFORMERS = "transformers"
    TRANSFORMERS_SERVE = "transformers-serve"


class Weights(Enum):
    """Which checkpoint is really loaded."""

    EXAMPLE = "example"
    INT4 = "int4"
    INT4_GROUPS_OF_32 = "int4-g32"
    INT8 = "int8"
    FP8 = "fp8"
    OTHER = "other"


class Trick(Enum):
    """What the provider does to a request beyond serving the wrong weights."""

    NONE = "none"
    HOTTER = "hotter"
    TEN_PERCENT_HOTTER = "ten-percent-hotter"
    TEN_PERCENT_COLDER = "ten-percent-colder"
    OTHER_SEED = "other-seed"
    FLIP = "flip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Shares of the request variants; the rest are plain text prompts."""

    token_ids: float = 0.0
    chat: float = 0.0
    streamed: float = 0.0
    may_stop_early: float = 0.0
    stop_strings: float = 0.0
    file_endings: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One file to record.

    `label` says in a few words what was really run, for tables. The requests are drawn with
    `drawn_as` as the seed, or with the name where it is empty. The first `num_prompts_skipped`
    prompts of the bucket are left out.
    """

    name: str
    bucket: int
    num_exchanges: int
    claim: str
    really_run: str
    label: str
    expected: str
    note: str = ""
    drawn_as: str = ""
    num_prompts_skipped: int = 0
    source: Source = Source.VLLM
    dtype: str = "bfloat16"
    weights: Weights = Weights.EXAMPLE
    trick: Trick = Trick.NONE
    is_other_text: bool = False
    is_compressed: bool = False
    kv_cache_dtype: str = "auto"
    temperatures: tuple[float, ...] = ALL_TEMPERATURES
    filters: tuple[tuple[int, float], ...] = ALL_FILTERS
    num_tokens_range: tuple[int, int] = (150, 300)
    shapes: Shapes = Shapes()
    concurrencies: tuple[int, ...] = (1, 4, 8)


def fresh(plan: Plan, word: str, num_exchanges: int) -> Plan:
    """Return a plan that does the same with other prompts and seeds, which `word` decides."""
    return replace(
        plan,
        num_exchanges=num_exchanges,
        drawn_as=f"{plan.name} {word}",
        num_prompts_skipped=plan.num_exchanges,
    )


def _honest(
    name: str, bucket: int, num_exchanges: int, dtype: str, shapes: Shapes, drawn_as: str = ""
) -> Plan:
    """Return a plan of an honest vLLM server."""
    text = f"the example model in {dtype}, served by vLLM"
    return Plan(
        name=name,
        bucket=bucket,
        num_exchanges=num_exchanges,
        claim=text,
        really_run=text,
        label="honest" if dtype == "bfloat16" else f"honest, {dtype}",
        expected="PASS",
        drawn_as=drawn_as,
        dtype=dtype,
        shapes=shapes,
    )


def _fp32_calibration(concurrency: int, bucket: int) -> Plan:
    """Return a plan of one honest float32 variant to calibrate on."""
    name = f"honest-vllm-fp32-calibration-batch-{concurrency}"
    plan = _honest(name, bucket, 120, "float32", EVERY_SHAPE)
    return replace(
        plan, label=f"honest, float32, batch {concurrency}", concurrencies=(concurrency,)
    )


def _in_process(name: str, bucket: int, num_exchanges: int) -> Plan:
    """Return a plan of transformers' `generate`."""
    text = "the example model in bfloat16, transformers `generate`, seeded before each call"
    return Plan(
        name=name,
        bucket=bucket,
        num_exchanges=num_exchanges,
        claim=text,
        really_run=text,
        label="honest, transformers",
        expected="PASS",
        source=Source.TRANSFORMERS,
        shapes=Shapes(may_stop_early=0.1),
        concurrencies=(1,),
    )


def _served_by_transformers() -> Plan:
    """Return the plan of the `transformers serve` server."""
    text = "the example model in bfloat16, served by `transformers serve`"
    return Plan(
        name="honest-transformers-serve",
        bucket=5,
        num_exchanges=12,
        claim=text,
        really_run=f"{text}; its own default of top_k 50 holds, since it takes no such field",
        label="honest, text only",
        expected="INCONCLUSIVE",
        note="text only: the token ids are not recoverable with certainty",
        source=Source.TRANSFORMERS_SERVE,
        temperatures=(0.7, 1.0),
        filters=((50, 1.0), (50, 0.95)),
        num_tokens_range=(150, 200),
        shapes=Shapes(chat=1.0),
        concurrencies=(1,),
    )


def _cheat(
    name: str,
    bucket: int,
    label: str,
    really_run: str,
    *,
    note: str = "",
    weights: Weights = Weights.EXAMPLE,
    trick: Trick = Trick.NONE,
    temperatures: tuple[float, ...] = (0.7, 1.0),
) -> Plan:
    """Return a plan of a cheating vLLM server that claims to be the honest one."""
    return Plan(
        name=name,
        bucket=bucket,
        num_exchanges=40,
        claim="the example model in bfloat16, served by vLLM",
        really_run=really_run,
        label=label,
        expected="FAIL",
        note=note,
        weights=weights,
        trick=trick,
        temperatures=temperatures,
        filters=(NO_FILTER, TOP_K_AND_TOP_P),
        num_tokens_range=(NUM_CHEAT_TOKENS, NUM_CHEAT_TOKENS),
        concurrencies=(8,),
    )


EVERY_SHAPE = Shapes(token_ids=0.15, chat=0.15, streamed=0.1, may_stop_early=0.1)
EVERY_SHAPE_AND_STOPS = replace(EVERY_SHAPE, stop_strings=0.08, file_endings=0.1)

PLANS: tuple[Plan, ...] = (
    _honest("honest-vllm-bf16-2", 14, 228, "bfloat16", EVERY_SHAPE_AND_STOPS),
    _honest("honest-vllm-fp32", 2, 60, "float32", Shapes(token_ids=0.15, chat=0.15)),
    _fp32_calibration(1, 0),
    _fp32_calibration(16, 13),
    _in_process("honest-transformers-bf16", 3, 48),
    _in_process("honest-transformers-calibration", 4, 120),
    _served_by_transformers(),
    _cheat(
        "cheat-4bit",
        6,
        "4-bit weights",
        "int4 weights in groups of 128 (W4A16, compressed-tensors), all linear layers but lm_head",
        weights=Weights.INT4,
    ),
    _cheat(
        "cheat-fp8",
        7,
        "fp8 weights",
        "weights rounded to fp8 e4m3, one scale per output channel, all linear layers but lm_head; "
        "stored back as bfloat16, because the engine's own fp8 path does not run on a CPU",
        note="not reliably found at 300 tokens by this version's statistic",
        weights=Weights.FP8,
    ),
    _cheat(
        "cheat-temperature-1.1",
        8,
        "temperature 1.1",
        "the honest server, sampling at temperature 1.1 where 1.0 is claimed",
        trick=Trick.HOTTER,
        temperatures=(1.0,),
    ),
    _cheat(
        "cheat-wrong-seed-t0.7",
        9,
        "wrong seed, T=0.7",
        "the honest server, given another seed than the one claimed",
        trick=Trick.OTHER_SEED,
        temperatures=(0.7,),
    ),
    _cheat(
        "cheat-wrong-seed-t1.0",
        10,
        "wrong seed, T=1.0",
        "the honest server, given another seed than the one claimed",
        trick=Trick.OTHER_SEED,
        temperatures=(1.0,),
    ),
    _cheat(
        "cheat-other-checkpoint",
        11,
        "another checkpoint",
        "another checkpoint of the same shape: another seed, two minutes of training",
        weights=Weights.OTHER,
    ),
    _cheat(
        "cheat-flipped-1pct",
        12,
        "1 % of tokens flipped",
        "the honest server at temperature 0, but each token is replaced with probability 1 % by "
        "another one of the five most likely, and decoding goes on from there",
        trick=Trick.FLIP,
        temperatures=(GREEDY,),
    ),
)
