"""Real engines, started here, against the reference: honest ones agree, a wrong seed does not.

The numbers of each test are printed; `pytest -m engines -s` shows them.
"""

from pathlib import Path

import pytest

from audit.examine import Examiner
from audit.records import Outcome, Reason
from tests.engines.recorder import examine, prompts_of
from tests.support.example_model import TRAFFIC


@pytest.mark.engines
def test_fresh_prompts_are_in_no_bundled_recording(recorded: Path) -> None:
    bundled = set().union(*(prompts_of(path) for path in sorted(TRAFFIC.glob("*.jsonl"))))
    # the endings of files in the second one are few and come back, with other seeds
    files = [path for path in recorded.glob("*.jsonl") if path.stem != "honest-vllm-bf16-2"]
    assert files
    for path in files:
        assert not prompts_of(path) & bundled, path.name


@pytest.mark.engines
@pytest.mark.parametrize(
    ("name", "precision", "share_min"),
    [
        ("honest-vllm-fp32", "float32", 0.999),
        ("honest-vllm-bf16-2", "bfloat16", 0.985),
        ("honest-transformers-bf16", "bfloat16", 0.985),
    ],
)
def test_honest_tokens_agree(
    recorded: Path, examiner: Examiner, name: str, precision: str, share_min: float
) -> None:
    found = examine(examiner, recorded / f"{name}.jsonl")
    print(f"{name}: {found.match_share:.4%} of tokens agree")
    assert found.precisions == {precision}
    assert found.match_share >= share_min


@pytest.mark.engines
@pytest.mark.parametrize(("temperature", "share_max"), [("0.7", 0.6), ("1.0", 0.3)])
def test_tokens_of_another_seed_do_not_agree(
    recorded: Path, examiner: Examiner, temperature: str, share_max: float
) -> None:
    found = examine(examiner, recorded / f"cheat-wrong-seed-t{temperature}.jsonl")
    print(f"wrong seed at T={temperature}: {found.match_share:.4%} of tokens agree")
    assert found.match_share < share_max
    assert {verdict.outcome for verdict in found.verdicts} == {Outcome.FAIL}


@pytest.mark.engines
def test_honest_exchanges_pass_with_the_bundled_calibration(
    recorded: Path, examiner: Examiner
) -> None:
    verdicts = examine(examiner, recorded / "honest-vllm-bf16-2.jsonl").verdicts
    # an answer that ended after a few tokens can prove nothing, and the auditor says so
    judged = [v for v in verdicts if Reason.TOO_FEW_TOKENS not in v.reasons]
    passed = [v for v in judged if v.outcome is Outcome.PASS]
    print(f"honest vLLM: {len(passed)} of {len(judged)} pass, {len(verdicts)} recorded")
    assert len(judged) >= 30
    assert len(passed) >= 0.97 * len(judged)
