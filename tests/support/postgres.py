"""A private PostgreSQL cluster from the installed binaries, for the tests that need one.

Nothing of an installed server is touched: the cluster has its own folder, port and user, listens on
the loopback interface and a socket in its folder, and is gone after the session. `fsync` stays on,
since the tests are about durability.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

_INSTALLED = Path("/usr/lib/postgresql")

#: The user that PostgreSQL's packages make; its programs refuse to run as root.
_SERVER_USER = "postgres"

_START_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster."""

    folder: Path
    port: int
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def url(self, database: str) -> str:
        """Return the URL of a database, over the socket in the cluster's folder."""
        return f"postgresql+psycopg://audit@/{database}?host={self.folder}&port={self.port}"

    def new_database(self, *, template: str | None = None) -> str:
        """Make a database, empty or a copy of the one at a URL, and return its URL."""
        name = f"audit_{os.getpid()}_{next(self._numbers)}"
        source = "template1" if template is None else _name(template)
        self._psql(f"CREATE DATABASE {name} TEMPLATE {source}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database that `new_database` made, whoever is still connected."""
        self._psql(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` is as a crash."""
        _run(self.folder, "pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.folder / "data"))

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # No fsync=off here: the tests are about what survives.
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        _run(
            self.folder,
            *("pg_ctl", "start", "-w", "-t", str(_START_TIMEOUT_S), "-D", f"{self.folder}/data"),
            *("-l", f"{self.folder}/server.log", "-o", f"{options}{self.folder}"),
        )

    def _psql(self, statement: str) -> None:
        where = ("-h", str(self.folder), "-p", str(self.port), "-U", "audit", "-d", "postgres")
        _run(self.folder, "psql", *where, "-q", "-v", "ON_ERROR_STOP=1", "-c", statement)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Yield a new cluster and remove it at the end; skip the test where none can be run."""
    if _binary("initdb") is None:
        pytest.skip("PostgreSQL's initdb is not installed: apt-get install postgresql")
    if os.geteuid() == 0 and not _has_server_user():
        pytest.skip(f"initdb refuses root, and there is no user {_SERVER_USER!r} to run it as")
    # Sockets' paths are limited to about 100 characters, so not under pytest's folder.
    folder = Path(tempfile.mkdtemp(prefix="audit-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _SERVER_USER)
        # Our own user connects through the socket, so the folder must be searchable.
        folder.chmod(0o711)
        _run(
            folder,
            *("initdb", "-D", f"{folder}/data", "-U", "audit", "-A", "trust", "-E", "UTF8"),
            *("--locale=C.UTF-8", "--no-instructions"),
        )
        cluster = Cluster(folder, _free_port())
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


def _binary(name: str) -> str | None:
    versions = sorted(_INSTALLED.glob(f"*/bin/{name}"), key=lambda path: path.parts[-3])
    return shutil.which(name) or (str(versions[-1]) if versions else None)


def _has_server_user() -> bool:
    try:
        pwd.getpwnam(_SERVER_USER)
    except KeyError:
        return False
    return shutil.which("setpriv") is not None


def _run(folder: Path, name: str, *arguments: str) -> None:
    program = _binary(name)
    assert program is not None, f"{name} is missing beside initdb"
    command = [program, *arguments]
    if os.geteuid() == 0:
        user = f"--reuid={_SERVER_USER}", f"--regid={_SERVER_USER}"
        command = ["setpriv", *user, "--clear-groups", *command]
    # The server keeps the descriptors that it is started with, so that a pipe would never end.
    with (folder / "commands.log").open("ab") as log:
        done = subprocess.run(command, stdout=log, stderr=log, cwd="/", check=False)
    assert done.returncode == 0, f"{name} failed:\n{(folder / 'commands.log').read_text()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
