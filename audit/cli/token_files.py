"""Files of billed requests, as the `tokens` commands take them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from audit.billing_records import BilledRequest
from audit.errors import ConfigurationError, InvalidRequest
from audit.hidden_tokens.submission import read_submissions

Requests = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="Billed requests, one JSON object a line."),
]


def read_requests(paths: Sequence[Path]) -> Iterator[BilledRequest]:
    """Yield the billed requests of all files, in order.

    Raises: InvalidRequest naming file and line, and where there is none at all: no bill is no
    agreement; ConfigurationError for an unreadable file.
    """
    num_read = 0
    for path in paths:
        try:
            with path.open(encoding="utf-8") as lines:
                for request in read_submissions(lines):
                    num_read += 1
                    yield request
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InvalidRequest.of(str(path), "is not UTF-8 text") from error
        except InvalidRequest as error:
            first = error.violations[0]
            raise InvalidRequest.of(f"{path}: {first.field}", first.description) from error
    if not num_read:
        names = ", ".join(map(str, paths))
        raise InvalidRequest.of(names, "holds no billed request: record one JSON object a line")
