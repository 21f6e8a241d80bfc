"""The verifier stays one short file that leans on nothing of the code that keeps the log."""

import ast
import subprocess
import sys
from pathlib import Path

from audit.ledger import verify

FILE = Path(verify.__file__)
MAX_LINES = 300


def test_it_is_short() -> None:
    assert len(FILE.read_text("utf-8").splitlines()) < MAX_LINES


def test_it_imports_the_standard_library_cryptography_and_our_errors_only() -> None:
    names = set()
    for node in ast.walk(ast.parse(FILE.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    foreign = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name.partition(".")[0] for name in foreign} == {"cryptography", "audit"}
    assert {name for name in foreign if name.startswith("audit")} == {"audit.errors"}


def test_loading_it_loads_neither_numpy_nor_the_database_nor_the_rest_of_the_ledger() -> None:
    script = "import sys, audit.ledger.verify; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=FILE.parents[2],
    )
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.startswith("audit.")}
    assert ours == {"audit.errors", "audit.ledger", "audit.ledger.verify"}
    assert loaded.isdisjoint(
        {"numpy", "torch", "sqlalchemy", "grpc", "rfc8785", "securesystemslib"}
    )
