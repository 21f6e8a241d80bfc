"""Runs the command line in this process, where torch is loaded once for all tests."""

import contextlib
import io

from audit.cli.root import run as run_command
from tests.integration.processes import CALIBRATION, Finished
from tests.support.example_model import MODEL

#: What most checks are given.
JUDGED = ("--model", str(MODEL), "--calibration", str(CALIBRATION))


def run(*arguments: object) -> Finished:
    """Run one command; an exception that it does not map fails the test."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = run_command([str(a) for a in arguments])
    assert "Traceback" not in stderr.getvalue(), stderr.getvalue()
    return Finished(code=code, stdout=stdout.getvalue(), stderr=stderr.getvalue())
