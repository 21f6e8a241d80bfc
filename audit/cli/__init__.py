"""The command line: thin, one file per command group."""

from audit.cli.root import main

__all__ = ["main"]
