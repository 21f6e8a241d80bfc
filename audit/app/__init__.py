"""The composition root: the only package that names concrete adapters."""

from audit.app.base import VERSION, new_id, utc_now
from audit.app.log import OpenLog, open_log, running_log
from audit.app.replay import (
    build_accumulator,
    build_examiner,
    build_honest_traffic,
    build_library,
    build_pooled_diagnoser,
    build_replayer,
)
from audit.app.reports import write_report
from audit.app.service import background_service, running_service, serve_until_signal

__all__ = [
    "VERSION",
    "OpenLog",
    "background_service",
    "build_accumulator",
    "build_examiner",
    "build_honest_traffic",
    "build_library",
    "build_pooled_diagnoser",
    "build_replayer",
    "new_id",
    "open_log",
    "running_log",
    "running_service",
    "serve_until_signal",
    "utc_now",
    "write_report",
]
