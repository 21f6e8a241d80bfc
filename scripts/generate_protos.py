"""Generates the Python modules beside `proto/inference_audit/v1/*.proto`, or checks them.

The modules are checked in, so that nobody needs a compiler to use them. Their text depends on the
versions of grpcio-tools and mypy-protobuf: generate and check with the pinned ones.

    python scripts/generate_protos.py            write the modules
    python scripts/generate_protos.py --check    exit 1 where a module is not fresh
"""

import argparse
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

PROTO_ROOT = Path(__file__).resolve().parent.parent / "proto"
PACKAGE = Path("inference_audit", "v1")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")
#: Both mypy plugins are installed beside the interpreter, which need not be on PATH.
PLUGIN_DIR = Path(sys.executable).parent


def generate(out_dir: Path) -> None:
    """Write the modules of every proto file below `out_dir`. Raises: SystemExit if protoc does."""
    well_known = resources.files("grpc_tools").joinpath("_proto")
    sources = sorted(PROTO_ROOT.joinpath(PACKAGE).glob("*.proto"))
    services = [source for source in sources if source.stem.endswith("_service")]
    common = ["protoc", f"--proto_path={PROTO_ROOT}", f"--proto_path={well_known}"]
    for plugins, files in ((("python", "mypy"), sources), (("grpc_python", "mypy_grpc"), services)):
        outputs = [argument for name in plugins for argument in _plugin(name, out_dir)]
        if protoc.main([*common, *outputs, *map(str, files)]) != 0:
            raise SystemExit("protoc refused the files above")


def _plugin(name: str, out_dir: Path) -> list[str]:
    if not name.startswith("mypy"):
        return [f"--{name}_out={out_dir}"]
    executable = PLUGIN_DIR / f"protoc-gen-{name}"
    return [f"--plugin=protoc-gen-{name}={executable}", f"--{name}_out=quiet:{out_dir}"]


def _modules(root: Path) -> dict[str, bytes]:
    folder = root / PACKAGE
    return {path.name: path.read_bytes() for pattern in GENERATED for path in folder.glob(pattern)}


def stale_modules() -> list[str]:
    """Return the names of modules that are missing, superfluous or out of date."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = _modules(Path(scratch))
    present = _modules(PROTO_ROOT)
    names = fresh.keys() | present.keys()
    return sorted(name for name in names if fresh.get(name) != present.get(name))


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Generate or check the protobuf modules.")
    parser.add_argument("--check", action="store_true", help="only compare, write nothing")
    if not parser.parse_args().check:
        generate(PROTO_ROOT)
        return 0
    stale = stale_modules()
    if stale:
        sys.stderr.write(
            f"not fresh: {', '.join(stale)}\nmend it with: python scripts/generate_protos.py\n"
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
