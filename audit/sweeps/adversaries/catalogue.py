"""The adversaries that studies and the demonstration go through, honest ones among them."""

from audit.errors import ConfigurationError
from audit.sweeps.adversaries import drift, recipes, tricks
from audit.sweeps.adversaries.adversary import Adversary, AdversaryKind

#: Every name stands for one behaviour for ever; a change of it gets a new name.
CATALOGUE: tuple[Adversary, ...] = (
    recipes.honest("honest-batch-1", "bfloat16, one request a pass", "bfloat16", batch_size=1),
    recipes.honest("honest-batch-8", "bfloat16, up to 8 requests a pass", "bfloat16", batch_size=8),
    recipes.honest("honest-float32", "float32, one request a pass", "float32", batch_size=1),
    recipes.adversary(
        AdversaryKind.HONEST,
        "honest-mixed",
        "bfloat16 and float32 machines side by side",
        recipes.honest_mix,
    ),
    recipes.copy("int4-g32", "4-bit weights"),
    recipes.copy("fp8-e4m3", "fp8 weights"),
    recipes.copy("int8-g32", "8-bit weights"),
    recipes.copy("kv-fp8-e4m3", "fp8 key-value cache"),
    recipes.copy("sibling", "a smaller sibling"),
    recipes.copy("other-checkpoint", "another checkpoint of the same size"),
    recipes.mixture(5, "int4-g32", "each"),
    recipes.mixture(20, "int4-g32", "each"),
    recipes.mixture(20, "sibling", "each"),
    recipes.mixture(20, "sibling", "block"),
    recipes.mixture(20, "sibling", "hour"),
    recipes.mixture(50, "sibling", "key"),
    recipes.evading(
        "evasion-one-token",
        "true model for one-token requests, 4-bit weights for the rest",
        lambda _tools: tricks.wants_one_token,
    ),
    recipes.evading(
        "evasion-probes",
        "true model for whatever is unlike a user's request, 4-bit weights for the rest",
        lambda _tools: tricks.looks_like_probe,
    ),
    recipes.evading(
        "evasion-benchmark",
        "true model for published prompts, 4-bit weights for the rest",
        lambda tools: tricks.is_known(tools.known_prompts),
    ),
    recipes.laundered("int4-g32"),
    recipes.laundered("sibling"),
    recipes.cached("cache-by-prompt", "answers kept, whatever the seed", with_seed=False),
    recipes.cached("cache-exact", "answers to equal requests kept", with_seed=True),
    recipes.asked_otherwise("temperature-115", "temperature times 1.15", tricks.retuned(1.15)),
    recipes.ignoring_seeds("seed-ignored", "seed ignored"),
    recipes.asked_otherwise("stop-ignored", "stop strings ignored", tricks.without_stop),
    recipes.asked_otherwise(
        "max-tokens-ignored", "answers of 48 tokens at least", tricks.at_least_tokens(48)
    ),
    recipes.asked_otherwise("other-template", "another chat template", tricks.other_template),
    recipes.injecting("system-text", "text put before prompts", hides=False),
    recipes.injecting("system-text-hidden", "the same, and not counted", hides=True),
    recipes.told_otherwise(
        "usage-inflated", "bills 1.3 times the tokens", "bfloat16", tricks.inflated(1.3)
    ),
    recipes.told_otherwise(
        "upstream-other", "another upstream than pinned", "bfloat16", tricks.named("elsewhere")
    ),
    recipes.lying_upstream(
        "upstream-lie", "4-bit weights elsewhere, under the pinned upstream's name"
    ),
    recipes.told_otherwise(
        "model-renamed", "another model's name in answers", "bfloat16", tricks.served_as("renamed")
    ),
    recipes.drifting(
        "drift-step",
        "4-bit weights from one request on",
        lambda tools: drift.step(tools.change_at, position=tools.position),
    ),
    recipes.drifting(
        "drift-ramp",
        "more and more 4-bit answers",
        lambda tools: drift.ramp(tools.change_at, tools.change_end, position=tools.position),
    ),
    recipes.drifting(
        "drift-blip",
        "4-bit weights for a while",
        lambda tools: drift.blip(tools.change_at, tools.change_end, position=tools.position),
    ),
    recipes.drifting(
        "drift-alternating",
        "4-bit weights and the true model in turns",
        lambda tools: drift.alternating(tools.change_at, position=tools.position),
    ),
)


def find_adversary(name: str) -> Adversary:
    """Return an adversary. Raises: ConfigurationError for an unknown name."""
    for adversary in CATALOGUE:
        if adversary.name == name:
            return adversary
    known = ", ".join(adversary.name for adversary in CATALOGUE)
    raise ConfigurationError(f"no adversary is called {name!r}; known are: {known}")
