"""`tokens commitment`: a provider commits to its hidden tokens, the auditor has some opened."""

from pathlib import Path
from typing import Annotated

import typer

from audit.billing_records import MeterOutcome
from audit.cli import options
from audit.cli.commitment_lines import print_finding, tell
from audit.cli.common import require_files, require_profile
from audit.cli.exits import ExitCode
from audit.config import DEFAULT_NUM_THREADS, ReplaySettings, parse_model
from audit.errors import ConfigurationError
from audit.hidden_tokens.commitment.challenge import (
    MAX_OPENINGS,
    OpeningRules,
    detection_probability,
    openings_needed,
)
from audit.hidden_tokens.commitment.documents import (
    challenge_document,
    openings_document,
    parse_chain,
    parse_challenge,
    parse_openings,
    parse_signed_count,
    signed_count_document,
)
from audit.hidden_tokens.commitment.verify import p256_signer

Chain = Annotated[
    Path, typer.Argument(metavar="CHAIN", help="Token ids of one request, with their count; JSON.")
]
Commitment = Annotated[Path, typer.Argument(metavar="COMMITMENT", help="The provider's.")]
Answer = Annotated[Path, typer.Argument(metavar="OPENING", help="The provider's answer.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")]
Secrets = Annotated[
    Path,
    typer.Option("--secrets", metavar="FILE", help="What opens the commitment: keep it private."),
]
ProviderKey = typer.Option("--provider-key", metavar="PEM", help="The provider's public key.")

_RULES = OpeningRules()

#: Shares of tokens that cannot be shown, for which the chance to find one is told.
_SHARES = (0.1, 0.05, 0.01)

_OUTCOME_CODES = {
    MeterOutcome.AGREES: ExitCode.PASS,
    MeterOutcome.DISAGREES: ExitCode.FAIL,
    MeterOutcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


def register(group: typer.Typer) -> None:
    """Add the group to `tokens`."""
    both = typer.Typer(help="Commit to hidden tokens, and open some of them.", no_args_is_help=True)
    both.command("make")(make)
    both.command("challenge")(challenge)
    both.command("open")(open_)
    both.command("verify")(verify)
    group.add_typer(both, name="commitment")


def make(
    chain: Chain,
    key: Annotated[
        Path, typer.Option("--key", metavar="KEY", help="Private key, PEM; made if missing.")
    ],
    out: Out,
    secrets: Secrets,
) -> None:
    """Provider: commit to the hidden tokens of one request and to their count.

    Give FILE of --out to the auditor; `KEY.pub` is the public key that belongs to it.
    """
    from audit.app.commitment import commit
    from audit.app.commitment_files import keep_secrets, read_file, write_file

    if out.resolve() == secrets.resolve():
        raise ConfigurationError("--out goes to the auditor: name another file than --secrets")
    kept = commit(read_file(chain, parse_chain), key)
    # in this order: a commitment that cannot be opened must not be given away
    keep_secrets(secrets, kept)
    try:
        write_file(out, signed_count_document(kept.signed))
    except ConfigurationError:
        secrets.unlink()
        raise
    tell(f"{out}: {kept.signed.statement.num_tokens} hidden tokens; keep {secrets} to open them")


def challenge(
    commitment: Commitment,
    out: Out,
    provider_key: Annotated[Path | None, ProviderKey] = None,
    num_openings: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_OPENINGS, metavar="N", help="Single tokens; default: 44."),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1.0, metavar="F", help="In place of N: a share of bad tokens"),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, metavar="C", help="that is to be found this surely."),
    ] = None,
    block_size: Annotated[
        int, typer.Option(min=1, help="Tokens in a row, opened from the first on; 2, 4, 8, ...")
    ] = _RULES.block_tokens,
) -> None:
    """Auditor: draw what is to be opened, once the commitment is here; keep FILE for `verify`.

    Exit code 2 where the provider's key did not sign the commitment; then nothing is drawn.
    """
    from audit.app.commitment import draw_challenge
    from audit.app.commitment_files import read_bytes, read_file, write_file

    signed = read_file(commitment, parse_signed_count)
    num_tokens = signed.statement.num_tokens
    num_leaves = _num_leaves(num_tokens, num_openings, fraction, confidence)
    if provider_key is not None:
        is_signed_by = p256_signer(read_bytes(provider_key))
        if not is_signed_by(signed.statement.to_bytes(), signed.signature):
            tell("not checked: the provider's key did not sign the commitment")
            raise typer.Exit(ExitCode.INCONCLUSIVE)
    rules = OpeningRules(num_leaves=num_leaves, block_tokens=block_size)
    terms, drawn = draw_challenge(signed, rules)
    write_file(out, challenge_document(terms))
    if not num_tokens:
        tell(f"{out}: no hidden tokens were committed to, so there is nothing to open")
        return
    num_row = max((end for start, end in drawn.runs if start == 0), default=0)
    tell(
        f"{out}: {min(num_leaves, num_tokens)} single tokens of {num_tokens}, and the first "
        f"{num_row} in a row"
    )
    for share in _SHARES if fraction is None else (fraction,):
        chance = 1.0 if num_leaves >= num_tokens else detection_probability(share, num_leaves)
        tell(
            f"where {share:.2%} of them cannot be shown, the single tokens find that with "
            f"{chance:.2%} or more"
        )


def open_(
    secrets: Secrets,
    challenge: Annotated[Path, typer.Option("--challenge", metavar="FILE", help="The auditor's.")],
    out: Out,
) -> None:
    """Provider: open what the auditor asks for."""
    from audit.app.commitment import open_commitment
    from audit.app.commitment_files import read_file, read_secrets, write_file

    kept = read_secrets(secrets)
    openings = open_commitment(kept, read_file(challenge, parse_challenge))
    write_file(out, openings_document(openings))
    shown = {index for one in openings for index in range(one.start, one.end)}
    tell(f"{out}: shows {len(shown)} of {len(kept.token_ids)} hidden tokens")


def verify(
    commitment: Commitment,
    challenge: Annotated[
        Path, typer.Argument(metavar="CHALLENGE", help="As it was drawn here, not as it came back.")
    ],
    opening: Answer,
    provider_key: Annotated[Path, ProviderKey],
    billed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Reasoning tokens on the bill.")
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The billed request; default: what the commitment says."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Checkpoint that replays the opened tokens."),
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The recorded exchange: its prompt, seed and sampling."),
    ] = None,
    profile: options.Profile = None,
    dtype: options.Precision = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    as_json: options.AsJson = False,
) -> None:
    """Auditor: check count and openings against the bill, and with --model what was opened.

    Exit code 0: all agree, 1: one does not, 2: something could not be checked, and all else agrees.
    """
    from audit.app.commitment import ReplaySource, check_commitment
    from audit.app.commitment_files import read_bytes, read_file

    if (model is None) != (traffic is None):
        raise ConfigurationError("a replay needs both --model and --traffic, the exchange")
    source = None
    if model is not None and traffic is not None:
        require_profile(profile)
        require_files([traffic])
        settings = ReplaySettings(
            models=(parse_model(str(model)),),
            profile=profile,
            precision=dtype,
            num_threads=threads,
        )
        source = ReplaySource(settings=settings, traffic=traffic)
    signed = read_file(commitment, parse_signed_count)
    finding = check_commitment(
        signed,
        read_file(challenge, parse_challenge),
        read_file(opening, parse_openings),
        is_signed_by=p256_signer(read_bytes(provider_key)),
        billed_tokens=billed,
        request_id=request_id,
        replay=source,
    )
    wants_replay = source is not None
    print_finding(finding, signed.statement, billed, wants_replay=wants_replay, as_json=as_json)
    raise typer.Exit(_OUTCOME_CODES[finding.outcome])


def _num_leaves(
    num_tokens: int, num_openings: int | None, fraction: float | None, confidence: float | None
) -> int:
    if (fraction is None) != (confidence is None):
        raise ConfigurationError("--fraction and --confidence belong together: give both")
    if fraction is None or confidence is None:
        return _RULES.num_leaves if num_openings is None else num_openings
    if num_openings is not None:
        raise ConfigurationError("give --num-openings, or --fraction and --confidence")
    # more than all of them are never needed
    return min(openings_needed(fraction, confidence), max(num_tokens, 1))
