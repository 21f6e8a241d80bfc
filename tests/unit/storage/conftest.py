"""The stores that every promise is held against: in memory, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text, update

from audit.ledger.merkle import EMPTY_HEAD
from storage.engine import open_engine
from storage.log_models import TreeRow
from storage.memory import InMemoryAuditStore
from storage.models import Base
from storage.store import SqlAuditStore, open_store
from tests.support.postgres import Cluster, running_cluster
from tests.unit.storage.builders import CountingIds, LoggedStore, StepClock

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> str:
    """A migrated database to be copied: faster than to migrate one for each test."""
    url = cluster.new_database()
    open_store(url, clock=StepClock(), new_id=CountingIds()).close()
    return url


@pytest.fixture(scope="session")
def shared_url(cluster: Cluster, template: str) -> str:
    """A database for tests that change nothing but rows; each of them finds it empty."""
    return cluster.new_database(template=template)


@pytest.fixture
def postgres_url(cluster: Cluster, template: str) -> Iterator[str]:
    url = cluster.new_database(template=template)
    yield url
    cluster.drop_database(url)


@pytest.fixture
def empty_postgres_url(cluster: Cluster) -> Iterator[str]:
    url = cluster.new_database()
    yield url
    cluster.drop_database(url)


@pytest.fixture(params=DATABASES)
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, with the schema on PostgreSQL and without on SQLite."""
    return _url(request, str(request.param), tmp_path)


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("empty_postgres_url"))
    return f"sqlite:///{tmp_path}/audit.db"


@pytest.fixture
def any_sql(any_url: str) -> Iterator[SqlAuditStore]:
    made = open_store(any_url, clock=StepClock(), new_id=CountingIds())
    yield made
    made.close()


@pytest.fixture(params=("memory", *DATABASES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LoggedStore]:
    made: LoggedStore
    if request.param == "memory":
        made = InMemoryAuditStore(clock=StepClock(), new_id=CountingIds())
    elif request.param == "postgresql":
        url = str(request.getfixturevalue("shared_url"))
        _empty(url)
        made = open_store(url, clock=StepClock(), new_id=CountingIds())
    else:
        url = f"sqlite:///{tmp_path}/audit.db"
        made = open_store(url, clock=StepClock(), new_id=CountingIds())
    yield made
    made.close()


def _empty(url: str) -> None:
    """Delete all rows, as of a database that was just made."""
    engine = open_engine(url)
    with engine.begin() as connection:
        # The log's triggers are what keeps everybody else from doing this.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table in reversed(Base.metadata.sorted_tables):
            if table.name != TreeRow.__tablename__:
                connection.execute(table.delete())
        head = {"size": 0, "root": EMPTY_HEAD.root, "range_hashes": b""}
        connection.execute(update(TreeRow).values(head))
    engine.dispose()


def _url(request: pytest.FixtureRequest, database: str, folder: Path) -> str:
    # Asked for only here, so that no server is started for the other stores' tests.
    if database == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{folder}/audit.db"
