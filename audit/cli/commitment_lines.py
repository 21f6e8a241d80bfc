"""What `tokens commitment` prints."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from audit.cli.lines import print_line, stdout
from audit.hidden_tokens.commitment.prover import CountStatement

if TYPE_CHECKING:
    # importing it loads the whole composition, which most commands do without
    from audit.app.commitment import CommitmentFinding


def print_finding(
    finding: "CommitmentFinding",
    statement: CountStatement,
    billed: int | None,
    *,
    wants_replay: bool,
    as_json: bool,
) -> None:
    """Tell what was checked, what does not hold, and what was left out."""
    check, outcome = finding.check, finding.outcome
    if as_json:
        print_line(
            {
                "request_id": statement.request_id,
                "provider": statement.provider,
                "model": statement.model,
                "num_tokens": statement.num_tokens,
                "billed_tokens": billed,
                "outcome": outcome.value,
                "wants_replay": wants_replay,
            }
            | asdict(check)
        )
        return
    billed_text = "no count" if billed is None else str(billed)
    tell(
        f"{statement.request_id} ({statement.provider}, {statement.model}): {statement.num_tokens} "
        f"hidden tokens committed to, {billed_text} billed: {outcome.value}"
    )
    for violation in check.violations:
        tell(f"  {violation.identity}: {violation.statement}")
    for identity in check.checked:
        tell(f"  {identity}: holds")
    for unchecked in check.unchecked:
        tell(f"  not checked: {unchecked.detail}")
    if not wants_replay:
        tell("  whether the model drew them was not asked: give --model and --traffic")


def tell(text: str) -> None:
    """Print one line for people, as it is."""
    stdout().print(text, markup=False, highlight=False, soft_wrap=True)
