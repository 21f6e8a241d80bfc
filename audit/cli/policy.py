"""`policy`: what a policy file says, in plain words, and whether it can be used."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from audit.cli import options
from audit.cli.exits import ExitCode
from audit.cli.lines import Line, print_line, stdout
from audit.judge.policy import DEFAULT_PATH, Policy, load_policy

PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="A policy, TOML; default: the bundled one."),
]

_MEANINGS = {
    "errors.false_alarm_rate": "chance of failing an honest exchange, and an honest provider ever",
    "errors.calibration_share": "part of it that pays for the calibration's own uncertainty",
    "claim.tolerated_precisions": "precisions accepted beside the claimed one",
    "pass.min_tokens": "tokens; shorter answers never pass",
    "pass.min_variants": "honest set-ups that a calibration must hold for each kind of exchange",
    "pass.max_noise_ratio": "times the honest noise; a provider surely below it passes early",
    "pass.max_blind_share": "share of replaced tokens that a pass must mostly have seen",
    "power.target": 'probability behind "this audit could have seen"',
    "detectors.conditional": "each exchange by itself",
    "detectors.provider_stream": "all exchanges of a provider added up",
    "detectors.substituted_share": "how many exchanges were surely substituted",
    "detectors.routing": "whether suspicious exchanges come in runs",
    "provider.tell_rate": "chance that an honest exchange looks suspicious",
    "diagnosis.enabled": "explain each FAIL",
    "diagnosis.max_tokens": "tokens replayed at most to explain a FAIL",
    "diagnosis.rounded_copies": "quantised copies of the model tried as explanations",
}

_EXPLANATIONS = {
    "temperature": "FAIL explained by another temperature",
    "filters_off": "by top_k or top_p being ignored",
    "other_seed": "by another seed",
    "unseeded": "by no seed at all",
    "other_profile": "by another engine's way of drawing tokens",
    "template": "by another chat template",
    "system_prompt": "by another system prompt",
    "int4-g32": "by 4-bit weights, groups of 32",
    "int4-g128": "by 4-bit weights, groups of 128",
    "int8-g32": "by 8-bit weights, groups of 32",
    "fp8-e4m3": "by fp8 weights",
    "kv-fp8-e4m3": "by an fp8 key-value cache",
    "sibling": "by another checkpoint",
    "burst": "by another model for a part of the answer",
    "unknown": "by nothing that was tried",
}

_SHARES = {
    "errors.false_alarm_rate",
    "errors.calibration_share",
    "pass.max_blind_share",
    "power.target",
    "provider.tell_rate",
}


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Show a policy, or check one of your own.", no_args_is_help=True)
    group.command()(show)
    group.command()(check)
    app.add_typer(group, name="policy")


def show(policy: PolicyFile = None, as_json: options.AsJson = False) -> None:
    """Print a policy's id and every value, with its unit, in plain words."""
    loaded, file = load_policy(policy), policy or DEFAULT_PATH
    if as_json:
        print_line(policy_line(loaded, file))
        return
    console = stdout()
    lines = (
        f"{loaded.name}, version {loaded.version}, from {file}",
        loaded.policy_id,
        f"FAIL from odds of {1 / loaded.test_rate:.4g} to 1 against an honest provider",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_table(loaded.content()))


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy, TOML.")],
) -> None:
    """Check that a policy can be used; exit 0 if so, 64 if not."""
    loaded = load_policy(file)
    stdout().print(
        f"{file}: usable; {loaded.name}, version {loaded.version}, {loaded.policy_id}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    raise typer.Exit(ExitCode.PASS)


def policy_line(policy: Policy, file: Path) -> Line:
    """Return the line of a policy; the id is the digest of `content` as RFC 8785 JSON."""
    return {
        "policy_id": policy.policy_id,
        "file": str(file),
        "name": policy.name,
        "version": policy.version,
        "test_rate": policy.test_rate,
        "calibration_rate": policy.calibration_rate,
        "log10_threshold": policy.log_threshold_nats / math.log(10),
        "content": policy.content(),
    }


def _table(content: dict[str, Any]) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for name in ("setting", "value", "meaning"):
        table.add_column(name, overflow="fold")
    for path, meaning in _MEANINGS.items():
        section, _, key = path.partition(".")
        table.add_row(path, escape(_value(path, content[section][key])), meaning)
    for name, disposition in content["diagnosis"]["dispositions"].items():
        table.add_row(f"diagnosis.dispositions.{name}", disposition, _EXPLANATIONS[name])
    return table


def _value(path: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{100 * value:g} %" if path in _SHARES else str(value)
