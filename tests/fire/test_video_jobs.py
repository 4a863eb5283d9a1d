"""Video jobs through what goes wrong: a gateway that is killed, two that look at once, callers who want to be told."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from sqlalchemy import select, update

from perquery.catalog import recipes
from perquery.config import ModelSetting, Provider, RouteSetting, VideoSetting
from perquery.metering.jobs import Jobs
from perquery.outbound import Client
from perquery.providers.content import Content
from perquery.store import audit
from perquery.store.tables import accounts, holds, jobs, requests
from tests import serving
from tests.fire.bed import Account, Bed, lit
from tests.fire.client import exchange
from tests.fire.processes import database_url, lapse, make_accounts, opened, port_of, start
from tests.fire.test_videos import KLING, KLING_NANO, VIDEOS, begun, call, filming
from tests.studios import MP4, Makers
from tests.workshop import Made, Workshop, workshop

KINDS: Final = ("sqlite", "postgresql")
QUOTED: Final = 5 * 126_000_000 * 105 // 100


@pytest.fixture(params=KINDS)
def given_url(request: pytest.FixtureRequest) -> str | None:
    """None: the embedded database."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else None


@asynccontextmanager
async def making() -> AsyncIterator[tuple[Makers, Workshop]]:
    makers = Makers()
    async with workshop(makers) as shop:
        makers.at(shop.base_url)
        yield makers, shop


def settings(data: Path, base_url: str, given: str | None) -> Path:
    data.mkdir(parents=True, exist_ok=True)
    file = data / "perquery.toml"
    database = f'database_url = "{given}"\n' if given else ""
    row = f'[[providers]]\nname = "fal"\nbase_url = "{base_url}"\napi_keys = ["house"]\n'
    file.write_text(database + row, "utf-8")
    return file


async def asked(gateway: serving.Gateway, account: Account, method: str, path: str, body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {account.key}"}
    async with exchange(port_of(gateway), path, body, headers, method=method) as sent:
        answer = await sent.answer()
        return answer.json()


async def ended(gateway: serving.Gateway, account: Account, id: str) -> Any:
    """The job once it has ended."""
    async with asyncio.timeout(60):
        while True:
            shown = await asked(gateway, account, "GET", f"{VIDEOS}/{id}")
            if shown["status"] != "pending":
                return shown


def judged(url: str, account: Account) -> tuple[int, dict[str, Any]]:
    """(nano-USD spent, the one receipt); the books are right, and nothing is held."""
    with opened(url) as database:
        report = audit.verify(database)
        assert report.ok, report.findings
        with database.reader.begin() as connection:
            posted = connection.scalar(select(accounts.c.posted).where(accounts.c.id == account.id))
            assert not connection.execute(select(holds)).all()
            (row,) = connection.execute(select(requests).where(requests.c.account_id == account.id)).mappings()
            assert posted is not None
            return account.credited - posted, dict(row)


def test_a_gateway_killed_in_the_middle_loses_neither_job_nor_money(tmp_path: Path, given_url: str | None) -> None:
    async def run() -> None:
        async with making() as (makers, shop):
            file = settings(tmp_path, shop.base_url, given_url)
            gateway = await start(tmp_path, file)
            try:
                (account,) = await make_accounts(database_url(tmp_path, given_url), "5")
                job = await asked(gateway, account, "POST", VIDEOS, KLING)
                assert job["status"] == "pending"
                gateway.kill()
                lapse(database_url(tmp_path, given_url))
                makers.free = True
                gateway = await start(tmp_path, file)
                shown = await ended(gateway, account, job["id"])
                assert shown["status"] == "completed"
                async with exchange(
                    port_of(gateway), shown["data"]["url"].partition("gateway.test")[2], None, {}, method="GET"
                ) as film:
                    assert (await film.answer()).body == MP4
            finally:
                gateway.kill()
            spent, row = judged(database_url(tmp_path, given_url), account)
            assert (spent, row["rule"], row["held_nano"]) == (QUOTED, "complete", QUOTED)
            assert len(makers.begun) == 1

    asyncio.run(run())


def test_a_gateway_killed_while_it_asks_does_not_ask_again(tmp_path: Path, given_url: str | None) -> None:
    """The upstream may have begun it, and nobody knows what it calls it: free, and on record as unbilled."""

    async def run() -> None:
        async with making() as (makers, shop):
            url = database_url(tmp_path, given_url)
            file = settings(tmp_path, shop.base_url, given_url)
            gateway = await start(tmp_path, file)
            try:
                (account,) = await make_accounts(url, "5")
                makers.refuse = [Made(fault="head")]
                sent = asyncio.ensure_future(asked(gateway, account, "POST", VIDEOS, KLING))
                await (await shop.arrival()).reached.wait()
                gateway.kill()
                await asyncio.gather(sent, return_exceptions=True)
                with opened(url) as database, database.writer.begin() as connection:
                    assert connection.execute(update(jobs).values(due_at=0)).rowcount == 1  # as minutes later
                    id = connection.scalar(select(jobs.c.id))
                    assert connection.scalar(select(holds.c.amount)) == QUOTED
                lapse(url)
                gateway = await start(tmp_path, file)
                assert (await ended(gateway, account, str(id)))["error"]["code"] == "submission_unknown"
            finally:
                gateway.kill()
            spent, row = judged(url, account)
            assert (spent, row["error_code"], row["unbilled_nano"]) == (0, "submission_unknown", QUOTED)
            assert not makers.begun and len(shop.orders) == 1

    asyncio.run(run())


def looked(shop: Workshop) -> list[str]:
    """The requests for a job's status that have come, by their paths."""
    return [order.path for order in shop.orders if order.path.endswith("/status")]


async def looked_at(shop: Workshop, count: int) -> None:
    """Until so many have come."""
    async with asyncio.timeout(60):
        while len(looked(shop)) < count:
            await shop.arrival()


@pytest.mark.slow
def test_two_processes_look_in_turn_and_whoever_is_left_ends_them(tmp_path: Path, given_url: str | None) -> None:
    """While looks wait for their answers nobody else looks; when one process is stopped the other goes on at once, and
    each job ends once and is paid once.
    """

    async def run() -> None:
        async with making() as (makers, shop):
            url = given_url or f"sqlite:///{tmp_path / 'shared.db'}"
            files = [settings(tmp_path / name, shop.base_url, url) for name in ("one", "two")]
            gateways = [await start(file.parent, file) for file in files]
            try:
                accounts = await make_accounts(url, *["5"] * 4)
                jobs: list[tuple[Account, Any]] = []
                gate, told = asyncio.Event(), shop.make
                shop.make = lambda order: replace(told(order), gate=gate if order.path.endswith("/status") else None)
                for number, account in enumerate(accounts):
                    jobs.append((account, await asked(gateways[number % 2], account, "POST", VIDEOS, KLING)))
                    await looked_at(shop, len(jobs))  # by then each process has had a turn at those before
                assert len(set(looked(shop))) == len(looked(shop)) == len(jobs)
                gate.set()
                makers.free = True
                assert await asyncio.to_thread(gateways[0].stop) == 0
                for account, job in jobs:
                    assert (await ended(gateways[1], account, job["id"]))["status"] == "completed"
            finally:
                for gateway in gateways:
                    if gateway.process.poll() is None:
                        gateway.kill()
            for account, _ in jobs:
                spent, row = judged(url, account)
                assert (spent, row["rule"]) == (QUOTED, "complete")
            assert len(makers.begun) == len(jobs)

    asyncio.run(run())


def second(bed: Bed, data: Path) -> Jobs:
    """Another gateway's loop on the same database."""
    upstreams = bed.gateway.upstreams
    studios = {name: upstreams[name].studio for name in ("fal",)}  # type: ignore[attr-defined]
    content = Content(data / "elsewhere", Client(), VideoSetting())
    return Jobs(bed.database, bed.gateway, studios, recipes.known(), content, lambda: None)


def test_two_gateways_look_at_once_and_charge_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, clock):
            account = await bed.account("5")
            await begun(bed, account)
            other = second(bed, tmp_path)
            makers.free = True
            await asyncio.to_thread(clock.set, due_at=0)
            await asyncio.gather(bed.jobs.round(), other.round())
            await asyncio.gather(bed.jobs.idle(), other.idle())
            assert await bed.spent(account) == KLING_NANO
            assert len(bed.rows(account)) == 1

    asyncio.run(run())


def test_a_verdict_that_was_written_is_carried_out_by_whoever_comes_next(tmp_path: Path) -> None:
    """Killed between the verdict and the money, and between the money and its note: it moves once."""

    async def run() -> None:
        async with filming(tmp_path) as (bed, _, clock):
            account = await bed.account("5")
            await begun(bed, account)
            await clock.turn()
            for _ in range(2):
                await asyncio.to_thread(clock.set, state="settling", ended_at=None, cost_nano=None)
                await clock.turn()
                assert await bed.spent(account) == KLING_NANO
            assert len(bed.rows(account)) == 1

    asyncio.run(run())


def test_a_job_that_was_never_sent_is_free(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, _, clock):
            account = await bed.account("5")
            job = await begun(bed, account)
            await asyncio.to_thread(clock.set, state="new", ticket=None)
            await clock.turn()
            shown = (await call(bed, account, "GET", f"{VIDEOS}/{job['id']}")).json()
            assert shown["error"]["code"] == "gateway_lost"
            assert await bed.spent(account) == 0

    asyncio.run(run())


def test_no_verdict_for_days_is_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, clock):
            account = await bed.account("5")
            await begun(bed, account)
            makers.troubled = True
            await asyncio.to_thread(clock.set, sent_at=1)
            await clock.turn()
            row = await bed.only_row(account)
            assert (row["error_code"], row["unbilled_nano"]) == ("no_verdict", KLING_NANO)
            assert await bed.spent(account) == 0

    asyncio.run(run())


FILM: Final = ModelSetting(
    id="film",
    kind="video",
    routes=(RouteSetting(provider="fal", model="fal-ai/kling-video/v3/standard/text-to-video"),),
)


def test_a_caller_is_told_until_it_is_taken(tmp_path: Path) -> None:
    async def run() -> None:
        answers = [Made(b"", status=503), Made(b"", status=204)]
        async with making() as (makers, shop), workshop(lambda _: answers.pop(0)) as ear:
            rows = [Provider(name="fal", base_url=shop.base_url, api_keys=("house",))]
            async with lit(tmp_path, others=rows, models=(FILM,), mode="sandbox") as bed:
                account = await bed.account("5")
                hook = {"model": "film", "webhook_url": f"{ear.base_url}/done", "webhook_secret": "s3cret"}
                job = await begun(bed, account, **hook)
                assert job["webhook_secret"] == "s3cret"
                makers.free = True
                first = await ear.arrival()
                with bed.database.writer.begin() as connection:
                    connection.execute(update(jobs).values(hook_due_at=0))
                told = await ear.arrival()
                assert json.loads(told.data)["data"]["id"] == job["id"]
                assert json.loads(told.data)["type"] == "video.completed"
                for order in (first, told):
                    at, _, mac = order.headers["perquery-signature"].partition(",v1=")
                    signed = f"{at.removeprefix('t=')}.".encode() + order.data
                    assert hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest() == mac
                assert await bed.spent(account) == KLING_NANO

    asyncio.run(run())


@pytest.mark.parametrize("url", ["http://93.184.216.34/x", "ftp://example.org/x", 7])
def test_only_who_may_be_told_is_told(tmp_path: Path, url: Any) -> None:
    async def run() -> None:
        async with filming(tmp_path) as (bed, makers, _):
            account = await bed.account("5")
            answer = await call(bed, account, "POST", VIDEOS, KLING | {"webhook_url": url})
            assert (answer.status, answer.json()["error"]["param"]) == (400, "webhook_url")
            assert not makers.begun

    asyncio.run(run())


def test_openais_sdk_films(tmp_path: Path) -> None:
    async def run() -> None:
        async with filming(tmp_path, "google") as (bed, _, clock):
            account = await bed.account("5")
            url = f"http://127.0.0.1:{bed.port}/v1"
            async with openai.AsyncOpenAI(api_key=account.key, base_url=url, max_retries=0) as client:
                with pytest.warns(DeprecationWarning):
                    job = await client.videos.create(model="veo-3.1-fast", prompt="a cat", seconds="4", size="1280x720")
                assert (job.status, job.seconds, job.progress) == ("in_progress", "4", 0)
                await clock.turn()
                with pytest.warns(DeprecationWarning):
                    done = await client.videos.retrieve(job.id)
                    film = await client.videos.download_content(job.id)
                assert (done.status, done.progress) == ("completed", 100)
                assert film.content == MP4
                assert await bed.spent(account) == 4 * 100_000_000 * 105 // 100

    asyncio.run(run())
