"""Finished videos on disk: fetched whole or not at all, from where they may be, kept for their time and their room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perquery.config import VideoSetting
from perquery.errors import UpstreamError
from perquery.providers.content import Content
from perquery.providers.studio import Film
from tests.outbound.wire import asking
from tests.studios import MP4
from tests.workshop import Made, Order, workshop


def fetched(
    folder: Path, make: Callable[[Order], Made], *, own: bool = True, **setting: Any
) -> tuple[tuple[str, int], list[Order]]:
    async def run() -> tuple[tuple[str, int], list[Order]]:
        async with workshop(make) as shop, asking() as client:
            film = Film(f"{shop.base_url}/film", {"x-key": "house"}, own=own)
            return await Content(folder, client, VideoSetting(**setting)).fetch("job", film), shop.orders

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_a_film_is_kept(tmp_path: Path) -> None:
    found, (order,) = fetched(tmp_path, lambda _: Made(MP4, kind="video/mp4"))
    assert (found, order.headers["x-key"]) == (("video/mp4", len(MP4)), "house")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [MP4]


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (Made(b"<html>no</html>"), "garbage"),
        (Made(b""), "garbage"),
        (Made(MP4, fault="break"), "down"),
        (Made(MP4, status=404), "down"),
        (Made(MP4 + bytes(100)), "garbage"),
        (Made(status=302, headers={"location": "/v1/film"}), "down"),
    ],
    ids=["page", "empty", "cut", "404", "large", "circle"],
)
def test_what_is_no_whole_film_leaves_nothing(tmp_path: Path, made: Made, kind: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        fetched(tmp_path, lambda _: made, file_bytes_max=len(MP4) + 50)
    assert caught.value.kind == kind
    assert list(tmp_path.iterdir()) == []


def test_nothing_inside_is_reached_for_an_upstream(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError):
        fetched(tmp_path, lambda _: Made(MP4), own=False)


def test_the_key_goes_to_no_other_address(tmp_path: Path) -> None:
    """Another port is another address, and no longer the upstream's own."""

    async def run() -> list[Order]:
        async with workshop(lambda _: Made(MP4)) as other:
            away = Made(status=302, headers={"location": f"{other.base_url}/film"})
            async with workshop(lambda _: away) as shop, asking() as client:
                film = Film(f"{shop.base_url}/film", {"x-key": "house"}, own=True)
                with pytest.raises(UpstreamError):
                    await Content(tmp_path, client, VideoSetting()).fetch("job", film)
            return other.orders

    assert asyncio.run(asyncio.wait_for(run(), 60)) == []


def kept(folder: Path, **made_s: int) -> None:
    """Files of ten bytes, by name and age."""
    for name, at_s in made_s.items():
        path = folder / f"{name}.bin"
        path.write_bytes(bytes(10))
        os.utime(path, (at_s, at_s))


@pytest.mark.parametrize(
    ("now_s", "room", "left"),
    [
        (1_000, 100, {"a", "b", "c"}),
        (1_250, 100, {"b", "c"}),
        (9_999, 100, set()),
        (1_000, 20, {"b", "c"}),
        (1_000, 19, {"c"}),
        (1_000, 0, set()),
        (1_250, 20, {"b", "c"}),
    ],
)
def test_the_old_go_and_the_oldest_where_there_is_no_room(
    tmp_path: Path, now_s: int, room: int, left: set[str]
) -> None:
    kept(tmp_path, a=900, b=950, c=990)
    (tmp_path / "x.part").write_bytes(bytes(99))

    async def run() -> int:
        async with asking() as client:
            setting = VideoSetting.model_construct(keep_s=300, file_bytes_max=50, disk_bytes_max=room)
            return Content(tmp_path, client, setting).sweep(now_s)

    assert asyncio.run(run()) == 3 - len(left)
    assert {path.stem for path in tmp_path.glob("*.bin")} == left


def test_nothing_to_sweep(tmp_path: Path) -> None:
    async def run() -> int:
        async with asking() as client:
            return Content(tmp_path / "nothing", client, VideoSetting()).sweep(0)

    assert asyncio.run(run()) == 0
