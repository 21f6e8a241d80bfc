"""What the power study records: honest traffic and cheats of the example model, all of one length.

The calibration is code at temperature 0.7 alone, in two honest variants; the honest tests are other
text at other temperatures. Attacks and the honest arm that they are held against share prompts'
kind, temperatures and filters. The tests and attacks were recorded after the judge was fixed; it
was developed on others like them, with other prompts and seeds, which are not kept. A plan is data
only; `record.py --study` records them.
"""

from dataclasses import replace

from plans import GREEDY, Plan, Trick, Weights

NUM_TOKENS = 300

#: Prompts at the start of a bucket that served while the judge was developed.
NUM_USED_PROMPTS = 350

_HONEST = Plan(
    name="honest",
    bucket=0,
    num_exchanges=96,
    claim="the example model in bfloat16, served by vLLM",
    really_run="the example model in bfloat16, served by vLLM",
    label="honest",
    expected="PASS",
    num_prompts_skipped=NUM_USED_PROMPTS,
    is_compressed=True,
    temperatures=(0.7, 1.0),
    num_tokens_range=(NUM_TOKENS, NUM_TOKENS),
    concurrencies=(8,),
)


def _calibration(concurrency: int, part: str, bucket: int, num_prompts_skipped: int = 0) -> Plan:
    """Return a plan of an honest server; prompts are Python source at temperature 0.7."""
    return replace(
        _HONEST,
        name=f"calibration-batch-{concurrency}-{part}",
        label=f"honest, batch {concurrency}",
        num_exchanges=400,
        bucket=bucket,
        num_prompts_skipped=num_prompts_skipped,
        temperatures=(0.7,),
        concurrencies=(concurrency,),
    )


def _shifted(temperature: float, bucket: int) -> Plan:
    """Return a plan of an honest server whose prompts are no Python, at another temperature."""
    return replace(
        _HONEST,
        name=f"honest-other-text-t{temperature:g}",
        label=f"honest, other text, T {temperature:g}",
        bucket=bucket,
        num_prompts_skipped=96,
        is_other_text=True,
        temperatures=(temperature,),
    )


def _attack(name: str, label: str, really_run: str, num_exchanges: int, bucket: int) -> Plan:
    """Return a plan of a cheating server, to be completed by `replace`."""
    return replace(
        _HONEST,
        name=name,
        label=label,
        really_run=really_run,
        num_exchanges=num_exchanges,
        bucket=bucket,
        concurrencies=(16,),
        expected="FAIL",
    )


_LINEAR = "all linear layers but lm_head"

_PLANS: tuple[Plan, ...] = (
    _calibration(16, "a", 0),
    _calibration(1, "a", 1),
    _calibration(16, "b", 2, num_prompts_skipped=144),
    _calibration(1, "b", 8, num_prompts_skipped=48),
    _calibration(16, "c", 7, num_prompts_skipped=32),
    replace(_HONEST, name="honest-code", label="honest, code", num_exchanges=360, bucket=3),
    _shifted(GREEDY, 10),
    _shifted(0.3, 11),
    _shifted(1.0, 12),
    _shifted(1.5, 13),
    replace(
        _attack("seed-wrong", "wrong seed", "the honest server, given another seed", 32, 4),
        trick=Trick.OTHER_SEED,
    ),
    replace(
        _attack("temperature-110", "temperature + 10 %", "1.1 times the temperature", 64, 5),
        trick=Trick.TEN_PERCENT_HOTTER,
    ),
    replace(
        _attack("temperature-90", "temperature - 10 %", "0.9 times the temperature", 64, 6),
        trick=Trick.TEN_PERCENT_COLDER,
    ),
    replace(
        _attack(
            "flipped-1pct",
            "1 % of tokens flipped",
            "the honest server at temperature 0; 1 % of the tokens are replaced by another one of "
            "the five most likely, and decoding goes on from there",
            96,
            9,
        ),
        trick=Trick.FLIP,
        temperatures=(GREEDY,),
    ),
    replace(
        _attack("kv-fp8", "fp8 KV cache", "the engine's own fp8 (e4m3) key-value cache", 200, 10),
        kv_cache_dtype="fp8",
    ),
    replace(
        _attack("int4", "int4, groups of 32", f"W4A16 kernels, groups of 32, {_LINEAR}", 200, 11),
        weights=Weights.INT4_GROUPS_OF_32,
    ),
    replace(
        _attack("int8", "int8, groups of 32", f"weights rounded to 8 bits, {_LINEAR}", 300, 12),
        weights=Weights.INT8,
    ),
    replace(
        _attack("fp8", "fp8 weights", f"weights rounded to e4m3 per channel, {_LINEAR}", 300, 13),
        weights=Weights.FP8,
    ),
    replace(
        _attack("checkpoint-other", "another checkpoint", "another seed, two minutes", 32, 14),
        weights=Weights.OTHER,
    ),
)

# other seeds than those that the judge was developed on
STUDY_PLANS: tuple[Plan, ...] = tuple(
    plan
    if plan.name.startswith("calibration")
    else replace(plan, drawn_as=f"{plan.name} once more")
    for plan in _PLANS
)
