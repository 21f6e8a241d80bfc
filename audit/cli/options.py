"""Options that several commands share, declared once."""

from pathlib import Path
from typing import Annotated

import typer

from audit.config import ENV_PREFIX

Model = Annotated[
    Path,
    typer.Option("--model", metavar="DIR", help="Folder of the claimed Hugging Face checkpoint."),
]
Traffic = Annotated[
    list[Path],
    typer.Option(
        "--traffic", metavar="FILE", help="Recorded traffic, JSON lines; may be given again."
    ),
]
MoreTraffic = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", help="More traffic files: `--traffic A B C` works too."),
]
Calibration = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="FILE", help="Made by `inference-audit calibrate`."),
]
Policy = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="A policy file; default: the bundled one."),
]
Siblings = Annotated[
    list[str] | None,
    typer.Option(
        "--sibling",
        metavar="NAME=DIR",
        help="Another checkpoint that may have answered, tried after a FAIL; may be given again.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="ID", help="Sampler profile; overrides what claims say."),
]
Precision = Annotated[
    str | None,
    typer.Option("--dtype", metavar="D", help="Reference precision; default: the claimed one."),
]
NumThreads = Annotated[
    int, typer.Option("--threads", min=1, max=256, help="CPU threads of the reference model.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object a line on stdout, and nothing else there.")
]
Address = Annotated[
    str,
    typer.Option(
        "--address", metavar="HOST:PORT", envvar=f"{ENV_PREFIX}ADDRESS", help="The audit service."
    ),
]
