"""What the settings of groups limit, on real stores: each refuses clearly, and what is over goes."""

import asyncio
from datetime import timedelta

import pytest

from meshd import Mesh, Settings
from meshd.errors import BackpressureError, GroupFailedError, InvalidArgumentError, NotFoundError
from tests.support.waiting import wait_until


async def test_limits_refuse_clearly(store_url: str, mesh_name: str) -> None:
    small = Settings.load(mesh=mesh_name, groups={"max_announcements": 2, "max_size": 2})
    async with Mesh(store_url, settings=small) as mesh:
        made = [await mesh.groups.announce("a", skills=["nobody"], detach=True) for _ in range(2)]
        with pytest.raises(BackpressureError, match="2 announcements are open"):
            await mesh.groups.announce("a", skills=["nobody"])
        await made[0].cancel()
        third = await mesh.groups.announce("a", skills=["nobody"], detach=True)
        with pytest.raises(InvalidArgumentError, match=r"groups\.max_size is the limit"):
            await mesh.groups.announce("a", skills=["x"], max_size=3)
        with pytest.raises(InvalidArgumentError, match="needs 0 skills"):
            await mesh.groups.announce("a", skills=[])
        for each in (made[1], third):
            await each.cancel()


async def test_the_1001st_announcement_is_refused_until_one_has_ended(store_url: str, mesh_name: str) -> None:
    async with Mesh(store_url, settings=Settings.load(mesh=mesh_name)) as mesh:
        for start in range(0, 1_000, 50):
            await asyncio.gather(
                *(mesh.groups.announce("a", skills=["nobody"], id=f"a{start + n:04}", detach=True) for n in range(50))
            )
        with pytest.raises(BackpressureError, match=r"1000 announcements are open.*groups\.max_announcements"):
            await mesh.groups.announce("a", skills=["nobody"], id="one-more", detach=True)
        with pytest.raises(NotFoundError):
            await mesh.groups.get("one-more")
        await mesh.groups.cancel("a0500")
        assert (await mesh.groups.announce("a", skills=["nobody"], id="one-more", detach=True)).id == "one-more"


async def test_one_whose_time_is_over_fails_and_is_removed_after_a_while(store_url: str, mesh_name: str) -> None:
    brief = Settings.load(mesh=mesh_name, groups={"kept_seconds": 1})
    async with Mesh(store_url, settings=brief) as mesh:
        work = await mesh.groups.announce("a", skills=["nobody"], deadline=timedelta(seconds=0.3))
        with pytest.raises(GroupFailedError, match="its deadline has passed"):
            await work.result(timedelta(seconds=10))
        assert await mesh.groups.list(state="open") == []

        async def is_gone() -> bool:
            try:
                await work.status()
            except NotFoundError:
                return True
            return False

        await wait_until(is_gone, 10)
