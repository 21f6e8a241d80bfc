"""Cuts prompts from ordinary text, so that they look like what users send, each another one."""

import hashlib
from collections.abc import Sequence

import numpy as np

#: Cuts that are tried for each prompt before the texts count as used up.
_NUM_TRIES = 20


def generator(seed: bytes, label: str) -> np.random.Generator:
    """Return random numbers that depend on the seed and the label alone."""
    digest = hashlib.sha256(seed + label.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


def cut_prompts(
    texts: Sequence[str], random: np.random.Generator, num: int, *, min_chars: int, max_chars: int
) -> list[str]:
    """Return up to `num` different cuts between blanks; fewer where the texts hold no more.

    A text shorter than `min_chars` is left out. Prompts neither begin nor end with a blank.
    """
    long_enough = [text for text in texts if len(text) >= min_chars]
    prompts: dict[str, None] = {}
    if not long_enough:
        return []
    # by length, so that every place of the texts is as likely as every other
    weights = np.asarray([len(text) for text in long_enough], dtype=np.float64)
    for _ in range(_NUM_TRIES * num):
        if len(prompts) == num:
            break
        text = long_enough[int(random.choice(len(long_enough), p=weights / weights.sum()))]
        length = int(random.integers(min_chars, max_chars + 1))
        start = int(random.integers(0, max(1, len(text) - length)))
        prompt = _between_blanks(text[start : start + length], is_first=start == 0)
        if len(prompt) >= min_chars // 2:
            prompts[prompt] = None
    return list(prompts)


def draw_seeds(random: np.random.Generator, num: int) -> list[int]:
    """Return different request seeds; below 2^31, which every engine takes."""
    seeds: dict[int, None] = {}
    while len(seeds) < num:
        seeds[int(random.integers(1, 1 << 31))] = None
    return list(seeds)


def _between_blanks(cut: str, *, is_first: bool) -> str:
    """Return a cut without the broken words at its ends."""
    words = cut.split(" ")
    return " ".join(words[0 if is_first else 1 : -1]).strip()
