"""`calibrate`: learn from honest traffic how often honest answers differ from the reference."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from audit.cli import options
from audit.cli.calibration_report import report_calibration
from audit.cli.common import progress, require_files, require_profile
from audit.cli.exits import ExitCode
from audit.codec.traffic import read_traffic
from audit.config import DEFAULT_NUM_THREADS, ReplaySettings, parse_model
from audit.errors import CannotJudge, ConfigurationError
from audit.examine import Replayer
from audit.judge.calibration import Calibration
from audit.judge.calibration_file import save_calibration
from audit.judge.collect import GENERATED, RECORDED, CalibrationCollector
from audit.judge.policy import Policy, load_policy
from audit.records import AuditRequest, Measurement

VariantTraffic = Annotated[
    list[str] | None,
    typer.Option(
        "--traffic",
        metavar="[VARIANT=]FILE",
        help="Honest traffic of one variant; files of the same variant are joined. May be given "
        "again; without a name the file's own is taken.",
    ),
]
MoreVariantTraffic = Annotated[
    list[str] | None, typer.Argument(metavar="[[VARIANT=]FILE]...", help="More of the same.")
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--generate",
        metavar="PROMPTS",
        help="Also let the reference answer these prompts, one a line, in several numeric "
        "variants.",
    ),
]
GenerateProfile = Annotated[
    str | None,
    typer.Option(metavar="ID", help="The sampler profile that generated answers are drawn by."),
]
GeneratedTokens = Annotated[
    int, typer.Option(min=1, max=100_000, help="Tokens of each generated answer.")
]


class Honest(NamedTuple):
    """One honest exchange, or why it cannot be used."""

    variant: str
    engine: str
    source: str
    measured: Measurement | None
    refusal: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(calibrate)


def calibrate(
    model: options.Model,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The calibration to write.")],
    traffic: VariantTraffic = None,
    more_traffic: MoreVariantTraffic = None,
    generate: Prompts = None,
    generate_profile: GenerateProfile = None,
    generated_tokens: GeneratedTokens = 200,
    profile: options.Profile = None,
    dtype: options.Precision = None,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
    policy: options.Policy = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a calibration from traffic that is known to be honest.

    Only how close the calls were is kept, never prompts or answers.
    """
    from audit.app import build_honest_traffic, build_replayer, utc_now

    require_profile(profile)
    files = [_split(text) for text in [*(traffic or ()), *(more_traffic or ())]]
    require_profile(generate_profile)
    prompts = _read_prompts(generate, generate_profile)
    require_files([path for _, path in files])
    if not files and not prompts:
        raise ConfigurationError("name honest traffic with --traffic, or prompts with --generate")
    rules = load_policy(policy)
    settings = ReplaySettings(
        models=(parse_model(str(model)),), profile=profile, precision=dtype, num_threads=threads
    )
    replay = build_replayer(settings)

    def exchanges() -> Iterator[Honest]:
        for variant, path in files:
            yield from _recorded(variant, path, replay)
        if prompts:
            generated = build_honest_traffic(
                settings,
                replay,
                rules,
                profile_id=generate_profile or "",
                num_tokens=generated_tokens,
                prompts=prompts,
            )
            for name, measured in generated:
                yield Honest(name, "the reference itself", GENERATED, measured)

    calibration, warnings = _collect(exchanges(), rules, utc_now())
    save_calibration(calibration, out)
    report_calibration(calibration, rules, warnings, out, as_json=as_json)
    raise typer.Exit(ExitCode.PASS)


def _split(text: str) -> tuple[str, Path]:
    """Return variant and file of `VARIANT=FILE` or `FILE`."""
    name, equals, file = text.partition("=")
    if equals and not Path(text).exists():
        return name, Path(file)
    return Path(text).name.split(".jsonl")[0], Path(text)


def _read_prompts(path: Path | None, profile: str | None) -> list[str]:
    if path is None:
        return []
    if profile is None:
        raise ConfigurationError(
            "--generate needs --generate-profile: whose sampler is to be imitated?"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the prompts in {path}: {error}") from error
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise ConfigurationError(f"{path} holds no prompts; write one a line")
    return prompts


def _recorded(variant: str, path: Path, replay: Replayer) -> Iterator[Honest]:
    for line in read_traffic([path]):
        if line.request is None:
            yield Honest(variant, "", RECORDED, None, f"invalid_exchange ({line.error})")
            continue
        engine = _engine(line.request)
        try:
            yield Honest(variant, engine, RECORDED, replay(line.request))
        except CannotJudge as error:
            yield Honest(variant, engine, RECORDED, None, f"{error.reason.value} ({error})")


def _engine(request: AuditRequest) -> str:
    provider = request.exchange.provider
    parts = (provider.engine, provider.engine_version, provider.device)
    return " ".join(part for part in parts if part) or "not stated"


def _collect(
    exchanges: Iterable[Honest], policy: Policy, created_at: str
) -> tuple[Calibration, tuple[str, ...]]:
    collector = CalibrationCollector(policy)
    skipped: Counter[str] = Counter()
    with progress() as bar:
        task = bar.add_task("calibrating", total=None)
        for count, honest in enumerate(exchanges, start=1):
            if honest.measured is None:
                skipped[honest.refusal] += 1
            else:
                collector.add(
                    honest.measured, honest.variant, engine=honest.engine, source=honest.source
                )
            bar.update(task, description=f"calibrating: {count} exchanges")
    calibration, warnings = collector.finish(created_at)
    left_out = tuple(f"{n} exchanges left out: {reason}" for reason, n in skipped.items())
    return calibration, warnings + left_out
