"""Several addresses of one store: they are tried in turn, and whoever answers first is used."""

from datetime import timedelta

import pytest

from meshd import Mesh, Node, Settings
from meshd.errors import ConfigurationError, StoreUnreachableError
from meshd.exit_codes import ExitCode
from tests.support.redis_server import RedisServer, free_port


def settings_of(mesh: str, *nodes: str, url: str = "") -> Settings:
    return Settings.load(
        mesh=mesh, url=url, bootstrap_nodes=list(nodes), join_patience_seconds=0, store_timeout_seconds=1
    )


async def test_the_first_address_that_answers_is_used_by_clients_and_nodes(
    redis_server: RedisServer, mesh_name: str
) -> None:
    settings = settings_of(mesh_name, f"redis://127.0.0.1:{free_port()}/0", f"127.0.0.1:{redis_server.port}")
    node = Node("n1")

    @node.task("double")
    async def double(value: int) -> int:
        return 2 * value

    async with Mesh(settings=settings) as mesh, node.running(settings=settings):
        assert mesh.url == redis_server.url
        assert await (await mesh.tasks.submit("double", value=4)).result(timeout=timedelta(seconds=10)) == 8


async def test_when_none_answers_the_error_names_each(mesh_name: str) -> None:
    ports = [free_port() for _ in range(3)]
    settings = settings_of(mesh_name, *(f"redis://:secret@127.0.0.1:{port}/0" for port in ports))
    with pytest.raises(StoreUnreachableError) as caught:
        await Mesh(settings=settings).open()
    assert all(f"127.0.0.1:{port}" in str(caught.value) for port in ports)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    with pytest.raises(StoreUnreachableError, match="none of 3 bootstrap_nodes answers"):
        async with Node("n1").running(settings=settings):
            pass


async def test_an_address_given_by_the_caller_is_the_only_one(redis_server: RedisServer, mesh_name: str) -> None:
    settings = settings_of(mesh_name, redis_server.url)
    with pytest.raises(StoreUnreachableError):
        await Mesh(f"redis://127.0.0.1:{free_port()}/0", settings=settings).open()
    other = settings_of(mesh_name, redis_server.url, url=f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(StoreUnreachableError):
        await Mesh(settings=other).open()


def test_host_and_port_stand_for_the_redis_section_with_another_address(mesh_name: str) -> None:
    settings = Settings.load(
        mesh=mesh_name, bootstrap_nodes="hub-1:7001,[::1]:7002", redis={"password": "s3cret", "db": 4}
    )
    assert settings.store_urls == ("redis://:s3cret@hub-1:7001/4", "redis://:s3cret@[::1]:7002/4")
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("address", ["hub", "hub:", ":7001", "hub:0", "hub:99999", "ftp://hub/1"])
async def test_what_is_no_address_is_refused_by_name(mesh_name: str, address: str) -> None:
    with pytest.raises(ConfigurationError, match=address):
        async with Mesh(settings=settings_of(mesh_name, address)):
            pass


def test_passwords_of_addresses_are_not_shown(mesh_name: str) -> None:
    settings = settings_of(mesh_name, "redis://:s3cret@hub:7001/0")
    assert settings.flat()["bootstrap_nodes"] == ["redis://:***@hub:7001/0"]
