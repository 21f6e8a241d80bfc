"""The rules of the house that no other tool checks: sizes, docstrings, who may do what."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("audit", "reference_runner", "storage")

MAX_FILE_LINES = 400
MAX_MEDIAN_FILE_LINES = 120
MAX_FUNCTION_LINES = 60
MAX_P90_FUNCTION_LINES = 40

#: Migrations are written once and never edited; they are as long as the change they make.
EXEMPT_FOLDER = Path("storage/migrations/versions")

MAY_CATCH_EVERYTHING = {
    # the loop that must outlive every job, and the boundary that answers every RPC
    "audit/worker.py": "Worker.run",
    "audit/service/errors.py": "ErrorBoundary._answering",
    # a draft that cannot be signed must not take the others, or the thread, with it
    "audit/ledger/sequencer.py": "Sequencer._process",
    # each of securesystemslib's back ends raises its own driver's errors
    "audit/ledger/signers.py": "_back_end",
    # the tokenizers library raises a bare Exception for a file that it cannot use
    "reference_runner/tokens.py": "load_tokenizer",
    # closes what it opened, and raises again
    "storage/store.py": "open_store",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> tuple[Path, ...]:
    """Return every module of our packages, relative to the root."""
    found = [p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))]
    return tuple(p.relative_to(ROOT) for p in found if "__pycache__" not in p.parts)


@cache
def tree(module: Path) -> ast.Module:
    """Return a parsed module."""
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def num_lines(module: Path) -> int:
    return len((ROOT / module).read_text(encoding="utf-8").splitlines())


def named(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Yield every function and class below a node with its dotted name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            yield prefix + child.name, child
            yield from named(child, f"{prefix}{child.name}.")
        else:
            yield from named(child, prefix)


def function_lengths() -> list[tuple[int, str]]:
    return sorted(
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{module}: {name}")
        for module in modules()
        if EXEMPT_FOLDER not in module.parents
        for name, node in named(tree(module))
        if isinstance(node, Function)
    )


def imported(module: Path) -> set[str]:
    """Return the top names of everything a module imports, wherever it does so."""
    names: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


def catch_alls(node: ast.AST, owner: str = "") -> Iterator[str]:
    """Yield the dotted name of each function that catches Exception or more."""
    for child in ast.iter_child_nodes(node):
        name = owner
        if isinstance(child, Function | ast.ClassDef):
            name = f"{owner}.{child.name}".lstrip(".")
        if isinstance(child, ast.ExceptHandler) and _catches_everything(child.type):
            yield owner
        yield from catch_alls(child, name)


def _catches_everything(kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    names = {k.id for k in kinds if isinstance(k, ast.Name)}
    return kind is None or bool(names & {"Exception", "BaseException"})


def test_no_file_is_long_and_most_are_short() -> None:
    sizes = {m: num_lines(m) for m in modules() if EXEMPT_FOLDER not in m.parents}
    too_long = {str(m): n for m, n in sizes.items() if n > MAX_FILE_LINES}
    assert not too_long, f"more than {MAX_FILE_LINES} lines: {too_long}"
    assert statistics.median(sizes.values()) <= MAX_MEDIAN_FILE_LINES


def test_no_function_is_long_and_most_are_short() -> None:
    lengths = function_lengths()
    too_long = [entry for entry in lengths if entry[0] > MAX_FUNCTION_LINES]
    assert not too_long, f"more than {MAX_FUNCTION_LINES} lines: {too_long}"
    assert lengths[int(0.9 * len(lengths))][0] <= MAX_P90_FUNCTION_LINES


def test_every_module_and_public_name_says_what_it_is() -> None:
    missing = [str(m) for m in modules() if ast.get_docstring(tree(m)) is None]
    for module in modules():
        for name, node in named(tree(module)):
            is_public = not any(part.startswith("_") for part in name.split("."))
            is_nested = any(
                isinstance(outer, Function) and node in ast.walk(outer) and outer is not node
                for _, outer in named(tree(module))
            )
            exempt = EXEMPT_FOLDER in module.parents or is_nested
            if is_public and not exempt and ast.get_docstring(node) is None:
                missing.append(f"{module}: {name}")
    assert not missing, f"no docstring: {missing}"


def test_no_module_reads_the_environment() -> None:
    """Typer does, for options that declare `envvar=`; config hands out what key references name."""
    readers = []
    for module in modules():
        if module == Path("audit/config.py"):
            continue
        for node in ast.walk(tree(module)):
            text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            if text in {"os.environ", "os.getenv", "environ", "getenv", "os.environb"}:
                readers.append(f"{module}:{getattr(node, 'lineno', 0)}")
    assert not readers, f"read settings in audit.config's words only: {readers}"


def test_declared_variables_carry_our_prefix() -> None:
    declared = [
        (module, ast.unparse(keyword.value))
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "envvar"
    ]
    assert declared
    for module, text in declared:
        assert Path("audit/cli") in module.parents, module
        assert "{ENV_PREFIX}" in text, f"{module}: {text}"


def test_everything_is_caught_only_at_the_named_boundaries() -> None:
    found = {str(m): sorted(set(catch_alls(tree(m)))) for m in modules()}
    assert {m: names for m, names in found.items() if names} == {
        module: [owner] for module, owner in MAY_CATCH_EVERYTHING.items()
    }


@pytest.mark.parametrize("library", ["torch", "transformers", "safetensors", "huggingface_hub"])
def test_only_the_reference_runner_imports(library: str) -> None:
    importers = [str(m) for m in modules() if library in imported(m)]
    assert not [m for m in importers if not m.startswith("reference_runner/")]


def test_the_generated_protobuf_modules_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_protos.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
