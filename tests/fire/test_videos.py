"""Videos over the whole path: begun, looked at, fetched, forgotten; the hold is the job's and ends by its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select, update

from perquery.config import Provider
from perquery.store.tables import holds, jobs
from tests.fire.bed import Account, Bed, Figures, lit
from tests.fire.client import Answer, exchange
from tests.studios import MP4, Makers
from tests.workshop import Made, workshop

VIDEOS: Final = "/v1/videos"
KLING: Final = {"model": "kling-3.0", "prompt": "a cat", "duration": 5, "aspect_ratio": "16:9"}
KLING_NANO: Final = 5 * 126_000_000 * 105 // 100


@asynccontextmanager
async def filming(data: Path, *hosts: str, **settings: Any) -> AsyncIterator[tuple[Bed, Makers, Clock]]:
    """A gateway whose upstreams of these names are one scripted maker; its jobs move only when they are told to."""
    makers = Makers()
    async with workshop(makers) as shop:
        makers.at(shop.base_url)
        providers = [Provider(name=name, base_url=shop.base_url, api_keys=("house",)) for name in hosts or ("fal",)]
        async with lit(data, others=providers, **settings) as bed:
            yield bed, makers, Clock(bed, makers)


class Clock:
    """The jobs' loop, cranked by hand: whatever waits for its time is due at once. Nothing ends before a turn."""

    def __init__(self, bed: Bed, makers: Makers) -> None:
        self._bed = bed
        self._makers = makers

    async def turn(self) -> None:
        self._makers.free = True
        await asyncio.to_thread(self.set, due_at=0)
        await self._bed.jobs.round()
        await self._bed.jobs.idle()

    def set(self, **columns: Any) -> None:
        """Of every job."""
        with self._bed.database.writer.begin() as connection:
            connection.execute(update(jobs).values(columns))


async def call(bed: Bed, account: Account, method: str, path: str, body: Any = None) -> Answer:
    headers = {"authorization": f"Bearer {account.key}"}
    async with exchange(bed.port, path, body, headers, method=method) as sent:
        answer: Answer = await sent.answer()
        return answer


async def begun(bed: Bed, account: Account, **body: Any) -> dict[str, Any]:
    answer = await call(bed, account, "POST", VIDEOS, KLING | body)
    assert answer.status in (200, 202), answer.body
    found: dict[str, Any] = answer.json()
    return found


def test_a_video_in_ppqs_shape(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, clock):
            account = await bed.account("5")
            first = await call(bed, account, "POST", VIDEOS, KLING | {"quality": "720p"})
            job = first.json()
            assert (first.status, job["status"]) == (202, "pending")
            assert int(job["estimated_cost"] * 10**9) == KLING_NANO
            assert first.headers["x-perquery-dropped"] == "quality"
            sent = {"prompt": "a cat", "duration": "5", "aspect_ratio": "16:9", "generate_audio": True}
            assert makers.begun[0].body == sent
            assert bed.figures(account).held == KLING_NANO
            pending = await call(bed, account, "GET", f"{VIDEOS}/{job['id']}")
            assert (pending.status, pending.json()["status"]) == (202, "pending")
            await clock.turn()
            done = await call(bed, account, "GET", f"{VIDEOS}/{job['id']}")
            shown = done.json()
            assert (done.status, shown["status"], shown["progress"]) == (200, "completed", 100)
            assert int(shown["cost"] * 10**9) == KLING_NANO
            assert shown["data"]["content_type"] == "video/mp4"
            assert (await bed.spent(account), bed.figures(account).held) == (KLING_NANO, 0)
            film = await call(bed, account, "GET", f"{VIDEOS}/{job['id']}/content")
            assert (film.status, film.body, film.headers["content-type"]) == (200, MP4, "video/mp4")
            path = shown["data"]["url"].removeprefix("http://gateway.test")
            async with exchange(bed.port, path, None, {}, method="GET") as opened:
                assert (await opened.answer()).body == MP4
            row = await bed.only_row(account)
            assert (row["kind"], row["rule"], row["id"]) == ("video_generation", "complete", job["id"])
            assert row["detail"]["usage"] == {"second": 5}

    asyncio.run(run())


# host, model, body, nano-USD before the markup, units, what was asked
CASES: Final[tuple[tuple[str, str, dict[str, Any], int, dict[str, int], dict[str, Any]], ...]] = (
    (
        "google",
        "veo-3.1-fast",
        {"seconds": "4", "size": "1920x1080"},
        480_000_000,
        {"second_1080p": 4},
        {
            "instances": [{"prompt": "a cat"}],
            "parameters": {"durationSeconds": 4, "resolution": "1080p", "aspectRatio": "16:9"},
        },
    ),
    (
        "xai",
        "grok-imagine-video",
        {"duration": 6, "quality": "480p", "image_url": "https://example.org/cat.png"},
        302_000_000,
        {"second_480p": 6, "image": 1},
        {
            "model": "grok-imagine-video",
            "prompt": "a cat",
            "duration": 6,
            "resolution": "480p",
            "image": {"url": "https://example.org/cat.png"},
        },
    ),
    (
        "fal",
        "minimax/h3/text-to-video",
        {"duration": 10, "quality": "2k", "aspect_ratio": "21:9"},
        1_300_000_000,
        {"second_1440p": 10},
        {"prompt": "a cat", "duration": 10, "resolution": "2K", "aspect_ratio": "21:9"},
    ),
    (
        "fal",
        "veo-3.1",
        {"quality": "1080p", "image_url": "https://example.org/cat.png", "seed": 3},
        3_200_000_000,
        {"second_1080p": 8},
        {
            "prompt": "a cat",
            "duration": "8s",
            "resolution": "1080p",
            "image_url": "https://example.org/cat.png",
            "generate_audio": True,
            "seed": 3,
        },
    ),
)


@pytest.mark.parametrize(("host", "model", "body", "nano", "counts", "asked"), CASES, ids=[c[1] for c in CASES])
def test_each_studio_is_asked_in_its_words_and_paid_by_its_unit(
    tmp_path: Path,
    host: str,
    model: str,
    body: dict[str, Any],
    nano: int,
    counts: dict[str, int],
    asked: dict[str, Any],
) -> None:
    async def run() -> None:
        async with filming(tmp_path, host) as (bed, makers, clock):
            account = await bed.account("10")
            answer = await call(bed, account, "POST", VIDEOS, {"model": model, "prompt": "a cat"} | body)
            assert answer.status in (200, 202), answer.body
            assert makers.begun[0].body == asked
            words = {"second_480p": "480p", "second_1080p": "1080p", "second_1440p": "2k"}
            assert answer.json()["size"] == words[next(iter(counts))]
            await clock.turn()
            assert await bed.spent(account) == -(-nano * 105 // 100)
            row = await bed.only_row(account)
            assert row["detail"]["usage"] == counts
            assert makers.fetched[0].headers.get("x-goog-api-key") == ("house" if host == "google" else None)

    asyncio.run(run())


@pytest.mark.parametrize("prompt", ["fail", "moderated"])
@pytest.mark.parametrize(
    ("host", "model"), [("fal", "kling-3.0"), ("google", "veo-3.1"), ("xai", "grok-imagine-video")]
)
def test_what_fails_is_free(tmp_path: Path, host: str, model: str, prompt: str) -> None:
    async def run() -> None:
        async with filming(tmp_path, host) as (bed, _, clock):
            account = await bed.account("5")
            job = (await call(bed, account, "POST", VIDEOS, {"model": model, "prompt": prompt})).json()
            assert bed.figures(account).held > 0
            await clock.turn()
            shown = (await call(bed, account, "GET", f"{VIDEOS}/{job['id']}")).json()
            assert shown["status"] == "failed" and shown["error"]["message"] and shown["cost"] == 0
            assert (await bed.spent(account), bed.figures(account).held) == (0, 0)
            assert (await call(bed, account, "GET", f"{VIDEOS}/{job['id']}/content")).status == 404

    asyncio.run(run())


def test_the_hold_lives_as_long_as_the_job(tmp_path: Path) -> None:
    """No lease that runs out and no sweep ends it; looks that fail change nothing; then it goes on."""

    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, clock):
            account = await bed.account("5")
            job = await begun(bed, account, prompt="slow")
            with bed.database.reader.begin() as connection:
                assert connection.scalar(select(holds.c.owner)) == f"job:{job['id']}"
            await clock.turn()
            await clock.turn()
            makers.troubled = True
            await clock.turn()
            assert bed.figures(account).held == KLING_NANO
            makers.troubled, makers.begun[0].free = False, True
            await clock.turn()
            assert (await bed.spent(account), bed.figures(account).held) == (KLING_NANO, 0)

    asyncio.run(run())


@pytest.mark.parametrize("lost", [Made(b"", fault="break"), Made({"error": {"code": 502, "message": "x"}}, 502)])
def test_what_was_sent_is_never_sent_again(tmp_path: Path, lost: Made) -> None:
    """An answer that was lost, or says nothing: nobody knows whether it was begun, so it is free, counted as unbilled,
    and nobody else is asked."""

    async def run() -> None:
        async with filming(tmp_path, "google", "fal") as (bed, makers, clock):
            account = await bed.account("10")
            makers.refuse = [lost]
            body = {"model": "veo-3.1", "prompt": "a cat"}
            answer = await call(bed, account, "POST", VIDEOS, body)
            assert answer.status == 503 and not makers.begun
            await clock.turn()
            row = await bed.only_row(account)
            assert (row["error_code"], row["cost_nano"]) == ("submission_unknown", 0)
            assert row["unbilled_nano"] == 8 * 400_000_000 * 105 // 100
            assert (await bed.spent(account), bed.figures(account).held) == (0, 0)
            makers.refuse = [Made({"error": {"code": 429, "message": "Quota exceeded"}}, 429)]
            second = await call(bed, account, "POST", VIDEOS, body)
            assert second.status == 202 and makers.begun[0].model == "fal-ai/veo3.1"

    asyncio.run(run())


def test_a_refusal_is_the_callers(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, _):
            account = await bed.account("5")
            makers.refuse = [Made({"detail": [{"loc": ["body", "prompt"], "msg": "too long", "type": "value"}]}, 422)]
            answer = await call(bed, account, "POST", VIDEOS, KLING)
            assert (answer.status, bed.figures(account).held) == (422, 0)
            assert (await call(bed, account, "POST", VIDEOS, KLING | {"duration": 60})).status == 400
            assert (await call(bed, account, "POST", VIDEOS, KLING | {"aspect_ratio": "5:1"})).status == 400
            assert (await call(bed, account, "POST", VIDEOS, KLING | {"model": "gpt-image-2"})).status in (400, 404)
            poor = await bed.account("0.1")
            refused = await call(bed, poor, "POST", VIDEOS, KLING)
            assert refused.status == 402 and not makers.begun
            assert (await call(bed, poor, "GET", VIDEOS)).json()["data"] == []

    asyncio.run(run())


def test_a_video_is_its_accounts_alone_until_it_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, clock):
            account, other = await bed.account("5"), await bed.account("5")
            job = await begun(bed, account)
            path = f"{VIDEOS}/{job['id']}"
            for method, where in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
                assert (await call(bed, other, method, where)).status == 404
            assert [one["id"] for one in (await call(bed, account, "GET", VIDEOS)).json()["data"]] == [job["id"]]
            await clock.turn()
            assert (await call(bed, account, "DELETE", path)).json() == {
                "id": job["id"],
                "object": "video.deleted",
                "deleted": True,
            }
            assert (await call(bed, account, "GET", path)).status == 404
            assert await bed.spent(account) == KLING_NANO
            running = await begun(bed, account, prompt="slow")
            await call(bed, account, "DELETE", f"{VIDEOS}/{running['id']}")
            assert makers.begun[1].cancelled
            await clock.turn()
            assert (await bed.spent(account), bed.figures(account).held) == (KLING_NANO, 0)

    asyncio.run(run())


def test_content_is_kept_for_its_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, clock):
            account = await bed.account("5")
            job = await begun(bed, account)
            await clock.turn()
            path = f"{VIDEOS}/{job['id']}/content"
            bed.jobs.path(job["id"]).unlink()  # as on another gateway
            assert (await call(bed, account, "GET", path)).body == MP4
            assert len(makers.fetched) == 2
            await asyncio.to_thread(clock.set, content_until=1)
            gone = await call(bed, account, "GET", path)
            assert (gone.status, gone.json()["error"]["code"]) == (410, "video_expired")

    asyncio.run(run())


def test_what_is_no_video_is_not_sold(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, clock):
            account = await bed.account("5")
            await begun(bed, account)
            makers.file = b"<html>Not found</html>"
            await clock.turn()
            assert bed.figures(account) == Figures(account.credited, KLING_NANO, 0)
            makers.file = MP4
            await clock.turn()
            assert await bed.spent(account) == KLING_NANO

    asyncio.run(run())


def test_every_answer_is_one_that_the_document_names(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, _, clock):
            account = await bed.account("5")
            paths = (await call(bed, account, "GET", "/openapi.json")).json()["paths"]
            job = await begun(bed, account)
            where = f"{VIDEOS}/{job['id']}"
            film = f"/v1/media/{job['id']}/0"

            async def answered(method: str, path: str, **headers: str) -> int:
                headers["authorization"] = f"Bearer {account.key}"
                async with exchange(bed.port, path, None, headers, method=method) as sent:
                    answer = await sent.answer()
                named = paths[path.partition("?")[0].replace(job["id"], "{id}")][method.lower()]["responses"]
                assert answer.headers["content-type"].partition(";")[0] in named[str(answer.status)]["content"]
                return int(answer.status)

            assert await answered("GET", VIDEOS) == 200
            assert await answered("GET", where) == 202
            assert await answered("GET", f"{where}/content") == 404
            await clock.turn()
            assert await answered("GET", where) == 200
            token = (await call(bed, account, "GET", where)).json()["data"]["url"].partition("token=")[2]
            for path in (f"{where}/content", f"{film}?token={token}"):
                assert await answered("GET", path) == 200
                assert await answered("GET", path, range="bytes=0-3") == 206
                assert await answered("GET", path, range="bytes=9999-") == 416
            assert await answered("GET", f"{film}?token=x") == 404
            assert await answered("GET", f"{where}/content?variant=thumbnail") == 400
            await asyncio.to_thread(clock.set, content_until=1)
            assert await answered("GET", f"{where}/content") == 410
            assert await answered("DELETE", where) == 200
            assert await answered("GET", where) == 404

    asyncio.run(run())
