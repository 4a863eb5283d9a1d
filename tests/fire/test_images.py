"""Images over the whole path: each vendor's protocol on a socket, priced by its own unit, held and settled once."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from perquery.config import Provider
from tests.fire.bed import Account, Bed, lit
from tests.fire.client import Answer, exchange
from tests.studios import PNG, Makers
from tests.workshop import Made, workshop

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
DATA_URL: Final = "data:image/png;base64," + base64.b64encode(PNG).decode()


@asynccontextmanager
async def painting(data: Path, *hosts: str) -> AsyncIterator[tuple[Bed, Makers]]:
    """A gateway whose upstreams of these names are one scripted maker."""
    makers = Makers()
    async with workshop(makers) as shop:
        makers.at(shop.base_url)
        makers.free = True
        rows = [Provider(name=name, base_url=shop.base_url, api_keys=("house",)) for name in hosts]
        async with lit(data, others=rows) as bed:
            yield bed, makers


async def ask(bed: Bed, account: Account, path: str = GENERATIONS, **body: Any) -> Answer:
    headers = {"authorization": f"Bearer {account.key}"}
    async with exchange(bed.port, path, {"prompt": "a cat"} | body, headers) as sent:
        answer: Answer = await sent.answer()
        return answer


# host, model, more of the body, what it costs in nano-USD before the markup, the units that are counted
CASES: Final[tuple[tuple[str, str, dict[str, Any], int, dict[str, int]], ...]] = (
    ("openai", "gpt-image-2", {}, 30_000_000 + 250_000, {"input": 50, "image_output": 1_000}),
    ("openai", "gpt-image-2.5", {"n": 2, "quality": "low"}, 60_000_000 + 250_000, {"input": 50, "image_output": 2_000}),
    ("google", "nano-banana", {}, 38_700_000 + 25_000 + 3_600, {"input": 12, "output": 10, "image_output": 1_290}),
    ("google", "gemini-2.5-flash-image", {}, 38_728_600, {"input": 12, "output": 10, "image_output": 1_290}),
    ("xai", "grok-imagine-image", {"n": 3}, 60_000_000, {"image": 3}),
    ("fal", "flux-schnell", {}, 3_000_000, {"megapixel": 1}),
    ("fal", "flux-dev", {"size": "2048x1024", "n": 2}, 100_000_000, {"megapixel": 4}),
    ("fal", "flux-2-pro", {"size": "1024x2048"}, 45_000_000, {"image": 1, "megapixel": 1}),
    ("fal", "seedream-4.5", {"n": 2}, 80_000_000, {"image": 2}),
    ("fal", "nano-banana-pro", {"resolution": "4K", "aspect_ratio": "16:9"}, 300_000_000, {"image_4k": 1}),
)


@pytest.mark.parametrize(("host", "model", "more", "nano", "counts"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_an_image_costs_what_its_unit_costs(
    tmp_path: Path, host: str, model: str, more: dict[str, Any], nano: int, counts: dict[str, int]
) -> None:
    async def run() -> None:
        async with painting(tmp_path, host) as (bed, _):
            account = await bed.account("5")
            answer = await ask(bed, account, model=model, **more)
            charged = -(-nano * 105 // 100)
            assert answer.status == 200, answer.body
            body = answer.json()
            assert len(body["data"]) == more.get("n", 1)
            assert all(one["url"] and one["content_type"] == "image/png" for one in body["data"])
            assert int(body["cost"] * 10**9) == charged
            assert await bed.spent(account) == charged
            row = await bed.only_row(account)
            assert (row["kind"], row["rule"], row["provider"]) == ("image_generation", "complete", host)
            assert row["detail"]["usage"] == counts

    asyncio.run(run())


def test_bytes_or_a_url_as_the_caller_wants(tmp_path: Path) -> None:
    async def run() -> None:
        async with painting(tmp_path, "fal", "openai") as (bed, makers):
            account = await bed.account("5")
            passed = (await ask(bed, account, model="flux-schnell", response_format="url")).json()["data"][0]
            assert passed["url"] == f"{makers.origin}/files/job-1.png" and not makers.fetched
            fetched = (await ask(bed, account, model="flux-schnell", response_format="b64_json")).json()["data"][0]
            assert base64.b64decode(fetched["b64_json"]) == PNG and "url" not in fetched
            assert "authorization" not in makers.fetched[0].headers
            made = (await ask(bed, account, model="gpt-image-2", response_format="url")).json()["data"][0]
            assert made == {"url": DATA_URL, "content_type": "image/png"}
            both = (await ask(bed, account, model="gpt-image-2")).json()["data"][0]
            assert both["url"] == DATA_URL and base64.b64decode(both["b64_json"]) == PNG

    asyncio.run(run())


def test_an_edit_sends_the_image_along(tmp_path: Path) -> None:
    async def run() -> None:
        async with painting(tmp_path, "fal", "openai", "google", "xai") as (bed, makers):
            account = await bed.account("5")
            for model in ("gpt-image-2", "nano-banana", "grok-imagine-image", "seedream-4"):
                answer = await ask(bed, account, EDITS, model=model, image=DATA_URL)
                assert answer.status == 200, answer.body
            openai_body, gemini_body, xai_body = makers.drawn
            assert openai_body["path"] == "/images/edits" and openai_body["images"] == [{"image_url": DATA_URL}]
            assert gemini_body["contents"][0]["parts"][1]["inlineData"]["mimeType"] == "image/png"
            assert xai_body["image"] == {"url": DATA_URL, "type": "image_url"}
            assert makers.begun[0].model == "fal-ai/bytedance/seedream/v4/edit"
            assert makers.begun[0].body["image_urls"] == [DATA_URL]
            assert (await ask(bed, account, EDITS, model="gpt-image-2")).status == 400
            assert (await ask(bed, account, EDITS, model="seedream-3", image=DATA_URL)).status == 400

    asyncio.run(run())


def test_what_a_model_does_not_take_is_dropped_and_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with painting(tmp_path, "fal") as (bed, makers):
            account = await bed.account()
            more: dict[str, Any] = {"negative_prompt": "dogs", "seed": 7, "output_format": "png", "style": "vivid"}
            answer = await ask(bed, account, model="flux-schnell", **more)
            assert answer.headers["x-perquery-dropped"] == "negative_prompt, style"
            size = {"width": 1024, "height": 1024}
            assert makers.begun[0].body == {"prompt": "a cat", "seed": 7, "output_format": "png", "image_size": size}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("model", "more", "param"),
    [
        ("flux-schnell", {"n": 9}, "n"),
        ("flux-2-pro", {"n": 2}, "n"),
        ("nano-banana-pro", {"aspect_ratio": "7:3"}, "aspect_ratio"),
        ("flux-schnell", {"output_format": "webp"}, "output_format"),
        ("flux-schnell", {"size": "huge"}, "size"),
        ("flux-schnell", {"size": "9000x10"}, "size"),
        ("flux-schnell", {"resolution": "8K"}, "resolution"),
        ("flux-schnell", {"prompt": " "}, "prompt"),
        ("flux-schnell", {"stream": True}, "stream"),
        ("flux-schnell", {"response_format": "svg"}, "response_format"),
        ("flux-schnell", {"image_url": "file:///etc/passwd"}, "image_url"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_sent(
    tmp_path: Path, model: str, more: dict[str, Any], param: str
) -> None:
    async def run() -> None:
        async with painting(tmp_path, "fal") as (bed, makers):
            account = await bed.account()
            answer = await ask(bed, account, model=model, **more)
            assert (answer.status, answer.json()["error"]["param"]) == (400, param)
            assert not makers.begun and await bed.spent(account) == 0

    asyncio.run(run())


@pytest.mark.parametrize("host", ["openai", "google", "fal"])
def test_what_is_held_back_is_free(tmp_path: Path, host: str) -> None:
    async def run() -> None:
        async with painting(tmp_path, host) as (bed, _):
            account = await bed.account()
            model = {"openai": "gpt-image-2", "google": "nano-banana", "fal": "flux-schnell"}[host]
            answer = await ask(bed, account, model=model, prompt="moderated", quality="low")
            assert answer.status in (400, 422, 503), answer.body
            assert await bed.spent(account) == 0 and bed.figures(account).held == 0

    asyncio.run(run())


def test_an_upstream_in_trouble_is_not_asked_twice(tmp_path: Path) -> None:
    async def run() -> None:
        async with painting(tmp_path, "fal") as (bed, makers):
            account = await bed.account()
            makers.refuse = [Made({"detail": "Internal error"}, 500)]
            answer = await ask(bed, account, model="flux-schnell")
            assert answer.status == 503 and not makers.begun
            assert await bed.spent(account) == 0
            makers.refuse = [Made({"detail": "User is locked. Reason: Exhausted balance."}, 403)]
            assert (await ask(bed, account, model="flux-schnell")).status == 503

    asyncio.run(run())


def test_what_the_balance_does_not_cover_is_never_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with painting(tmp_path, "fal") as (bed, makers):
            account = await bed.account("0.2")
            answer = await ask(bed, account, model="recraft-v4-pro")
            assert answer.status == 402 and not makers.begun

    asyncio.run(run())


def test_the_drift_of_a_price_is_seen(tmp_path: Path) -> None:
    """The queue's own count is the house's cost; the caller pays by the list."""

    async def run() -> None:
        async with painting(tmp_path, "fal") as (bed, makers):
            account = await bed.account()
            makers.headers = {"x-fal-billable-units": "2.5"}
            await ask(bed, account, model="flux-schnell")
            row = await bed.only_row(account)
            assert (row["cost_nano"], row["upstream_nano"]) == (3_150_000, 7_500_000)

    asyncio.run(run())


def test_openais_sdk_draws_and_edits(tmp_path: Path) -> None:
    async def run() -> None:
        async with painting(tmp_path, "openai") as (bed, makers):
            account = await bed.account("5")
            url = f"http://127.0.0.1:{bed.port}/v1"
            async with openai.AsyncOpenAI(api_key=account.key, base_url=url, max_retries=0) as client:
                made = await client.images.generate(
                    model="gpt-image-2", prompt="a cat", size="1024x1024", quality="low"
                )
                assert made.data and base64.b64decode(made.data[0].b64_json or "") == PNG
                assert made.usage and made.usage.output_tokens_details
                assert made.usage.output_tokens_details.image_tokens == 1_000
                file = ("cat.png", PNG, "image/png")
                edited = await client.images.edit(model="gpt-image-2", prompt="a dog", image=[file, file], n=2)
                assert edited.data and len(edited.data) == 2
                assert makers.drawn[1]["images"] == [{"image_url": DATA_URL}] * 2

    asyncio.run(run())
