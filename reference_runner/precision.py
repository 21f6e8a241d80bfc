"""Names of numeric precisions, as claims, engines and command lines spell them."""

from reference_runner.errors import CheckpointError

#: Take the dtype that the checkpoint's config.json states, as serving engines do by default.
CHECKPOINT_PRECISION = "auto"

_ALIASES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
}
#: Precisions at which the reference can run; each is also the name of torch's dtype.
PRECISIONS = ("bfloat16", "float16", "float32")


def normal_precision(name: str) -> str:
    """Return the standard spelling of a precision: `bfloat16`, `float16`, `float32` or `auto`.

    Raises: CheckpointError for any other name.
    """
    lowered = name.strip().lower().removeprefix("torch.")
    lowered = _ALIASES.get(lowered, lowered)
    if lowered != CHECKPOINT_PRECISION and lowered not in PRECISIONS:
        raise CheckpointError(
            f"the reference cannot run at precision {name!r}; use one of {', '.join(PRECISIONS)}"
        )
    return lowered
