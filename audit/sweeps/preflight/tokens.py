"""Token counts: of prompts against the local tokenizer and template, of answers against the bill.

Legend: N prompts.
"""

from collections.abc import Sequence

import numpy as np

from audit.sweep_records import AnswerStatus, Misconfiguration, Probed
from audit.sweeps.preflight.checks import Checked, answered, num_tokens
from audit.sweeps.preflight.local import LocalModel

#: A surplus that varies by no more than this between prompts is the same text each time: joining
#: it to a prompt may merge a token or two.
_MERGED_TOKENS = 2

#: An engine may count the token that ends an answer, or not.
_END_TOKENS = 1


def check_prompts(probed: Sequence[Probed], local: LocalModel) -> Checked:
    """Compare the counts of prompt tokens with the local tokenizer's."""
    items = answered(probed, "prompt-count")
    counted = [
        (len(ours), item.answer.prompt_tokens, item.answer.prompt_token_ids == ours)
        for item in items
        for ours in [local.prompt_ids(item.probe.prompt)]
        if ours is not None and item.answer.prompt_tokens is not None
    ]
    if not counted:
        return Checked(notes=("No answer states how many tokens its prompt had.",))
    expected_N = np.asarray([expected for expected, _, _ in counted], dtype=np.float64)
    surplus_N = np.asarray([stated for _, stated, _ in counted], dtype=np.float64) - expected_N
    statistics = (("prompt_surplus_tokens", float(np.median(surplus_N))),)
    if not surplus_N.any():
        return Checked(statistics=statistics)
    echoes_ours = all(same for _, _, same in counted)
    sent = f"{len(counted)} prompts of {int(expected_N.min())} to {int(expected_N.max())} tokens"
    finding = _explained(expected_N, surplus_N, sent, echoes_ours=echoes_ours)
    return Checked(findings=(finding,), statistics=statistics)


def check_usage(probed: Sequence[Probed]) -> Checked:
    """Compare billed output tokens with those that came back, over all answers."""
    billed = returned = num_over = 0
    for item in probed:
        count, stated = num_tokens(item), item.answer.completion_tokens
        # text before a stop string may hold fewer tokens than were drawn
        if count is None or stated is None or item.probe.stop:
            continue
        if item.answer.status is AnswerStatus.ANSWERED:
            billed, returned = billed + stated, returned + count
            num_over += stated > count + _END_TOKENS
    if not returned:
        return Checked(notes=("Output tokens could not be counted against the bill.",))
    statistics = (("billed_tokens_per_returned", billed / returned),)
    if num_over < 2:
        return Checked(statistics=statistics)
    finding = Misconfiguration(
        check="usage",
        is_decisive=False,
        detail=f"The answers hold {returned} tokens and {billed} were billed; {num_over} answers "
        "were billed more than they hold. Compare the bill with the tokens that came back, and ask "
        "the provider what else it counts.",
    )
    return Checked(findings=(finding,), statistics=statistics)


def _explained(
    expected_N: np.ndarray, surplus_N: np.ndarray, sent: str, *, echoes_ours: bool
) -> Misconfiguration:
    """Return the likeliest cause of wrong counts."""
    spread = float(surplus_N.max() - surplus_N.min())
    median = int(np.median(surplus_N))
    if echoes_ours:
        return Misconfiguration(
            check="prompt-usage",
            is_decisive=False,
            detail=f"Of {sent} the very tokens came back that were sent, but {median:+d} tokens "
            "(median) were counted besides. Compare the bill with the prompts.",
        )
    if spread > max(_MERGED_TOKENS, 0.2 * abs(median)):
        ratio = float((expected_N + surplus_N).sum() / expected_N.sum())
        return Misconfiguration(
            check="prompt-scale",
            is_decisive=False,
            detail=f"{sent} were sent, and {ratio:.2f} times their tokens were counted, more for "
            "longer prompts: another tokenizer, or a padded bill. Ask the provider which "
            "tokenizer it uses and compare the bill with it.",
        )
    if surplus_N.min() > 0:
        return Misconfiguration(
            check="prompt-added",
            is_decisive=True,
            detail=f"{sent} were sent, and about {median} tokens more were counted whatever the "
            "prompt: text of the provider's, a date or special tokens are put around prompts. Ask "
            "for a route without it, or calibrate with the same text.",
        )
    return Misconfiguration(
        check="prompt-missing",
        is_decisive=True,
        detail=f"{sent} were sent, and about {-median} tokens fewer were counted: the template or "
        "a special token differs from the checkpoint's, or prompts are cut. Ask the provider which "
        "template it uses.",
    )
