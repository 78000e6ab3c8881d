"""What every test may ask for: real stores, a clock that tests move, and a second process's view of the same store."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.clock import ManualClock
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.stores import ClusterMeshes, RedisMeshes, SqliteFiles, StoreSource

BACKENDS = ("sqlite", "redis")
SHAPES = {"redis-partitions": 4, "cluster": 1, "cluster-partitions": 6}
"""More backends, run only when they are named: how many partitions their meshes have."""

OpenAgain = Callable[..., Awaitable[Backend]]
"""Opens the store of this test once more, as another process would; takes other `BackendOptions` or none."""

settings.register_profile(
    "ci", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("nightly", settings.get_profile("ci"), max_examples=10_000)
settings.register_profile("quick", settings.get_profile("ci"), max_examples=30, phases=[Phase.explicit, Phase.generate])
settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        action="append",
        choices=(*BACKENDS, *SHAPES),
        default=[],
        help="run the port tests on this backend only",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend_name" in metafunc.fixturenames:
        metafunc.parametrize("backend_name", metafunc.config.getoption("--backend") or BACKENDS, scope="session")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for the whole run, keeping nothing on disk."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three primaries for the whole run, keeping nothing on disk."""
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def mesh_name() -> Iterator[str]:
    """A mesh of this test's own; the replicas that its nodes left in the default state folder go with it."""
    name = f"t{uuid4().hex[:12]}"
    yield name
    for left in Path(".meshd/memory").glob(f"{name}.*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


@pytest.fixture
def stores(backend_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> StoreSource:
    """Stores for meshes of this test's own making."""
    if backend_name == "sqlite":
        return SqliteFiles(tmp_path)
    if backend_name.startswith("cluster"):
        return ClusterMeshes(request.getfixturevalue("redis_cluster"), partitions=SHAPES[backend_name])
    server: RedisServer = request.getfixturevalue("redis_server")
    return RedisMeshes(server.url, partitions=SHAPES.get(backend_name))


@pytest.fixture
def store_url(stores: StoreSource, mesh_name: str) -> Iterator[str]:
    """Where this test's mesh is kept; what it leaves is checked and removed afterwards."""
    yield stores.url(mesh_name)
    stores.finish(mesh_name)


@pytest.fixture
def clock() -> ManualClock:
    """The store's clock: stands still until the test moves it."""
    return ManualClock()


@pytest.fixture
def options(mesh_name: str, clock: ManualClock) -> BackendOptions:
    return BackendOptions(mesh=mesh_name, clock=clock)


@pytest.fixture
async def open_again(store_url: str, options: BackendOptions) -> AsyncIterator[OpenAgain]:
    """Opens this test's store as often as asked, each time as another process would."""
    opened: list[Backend] = []

    async def open_store(other: BackendOptions | None = None) -> Backend:
        backend = await open_backend(store_url, other or options)
        opened.append(backend)
        return backend

    yield open_store
    for backend in opened:
        await backend.aclose()


@pytest.fixture
async def backend(open_again: OpenAgain) -> Backend:
    """All ports, open on this test's store and mesh."""
    return await open_again()
