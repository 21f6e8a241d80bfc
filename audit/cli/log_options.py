"""Which verdict log a command works on: the same options and variables for all of them."""

from pathlib import Path
from typing import Annotated

import typer

from audit.config import (
    DEFAULT_DATABASE,
    DEFAULT_KEY_PATH,
    ENV_PREFIX,
    ServiceSettings,
    load_log_settings,
)

Database = Annotated[
    str,
    typer.Option(
        "--database", metavar="URL", envvar=f"{ENV_PREFIX}DATABASE", help="SQLAlchemy URL."
    ),
]
Key = Annotated[
    Path,
    typer.Option(
        "--key",
        metavar="FILE",
        envvar=f"{ENV_PREFIX}KEY",
        help="The verdict key; made on the first start of `serve`.",
    ),
]
Settings = Annotated[
    Path | None,
    typer.Option(
        "--log-settings",
        metavar="FILE",
        envvar=f"{ENV_PREFIX}LOG_SETTINGS",
        help="TOML: origin, keys, anchor, witnesses, time-stamps of the verdict log.",
    ),
]


def choose_log(
    context: typer.Context,
    database: Database = DEFAULT_DATABASE,
    key: Key = DEFAULT_KEY_PATH,
    log_settings: Settings = None,
) -> None:
    """Work on one log; the same options and variables as `serve`."""
    context.obj = ServiceSettings(
        database=database, key_path=key, log=load_log_settings(log_settings)
    )
