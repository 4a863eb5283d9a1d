"""Speech on the whole line: held by the sound's own length or the text's, billed by what the upstream counts, whoever
leaves, breaks off or sends what is no sound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from perquery import money
from perquery.config import Provider
from perquery.dialects.transcriptions import FILE_BYTES_MAX
from tests.fire.bed import Account, Bed, lit, turns
from tests.fire.client import Answer, exchange
from tests.media.sounds import wav
from tests.providers.goldens import golden
from tests.workshop import Made, Order, workshop

TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
SPEECH: Final = "/v1/audio/speech"
SAID: Final = {"input": "Hello there."}
HEARD: Final = golden("deepgram", "listen")[0]["body"]  # of 5.93 seconds
SECOND: Final = 86_666_667  # pico-USD: 0.0052 USD a minute, rounded up
CHARACTER: Final = 30_000_000
FORM: Final = {"content-type": "multipart/form-data; boundary=x"}


def nano(pico: int) -> int:
    """With the markup of 5 percent, rounded up: counted here in our own way."""
    return -(-pico * 105 // 100_000)


def answers(order: Order) -> Made:
    if "/listen" in order.path:
        return Made(HEARD)
    return Made([b"ID3 sound", b" and more"], kind="audio/mpeg", headers={"dg-char-count": "12"})


@asynccontextmanager
async def studio(data: Path, make: Callable[[Order], Made] = answers, **settings: Any) -> AsyncIterator[Any]:
    """A gateway whose Deepgram is a workshop."""
    async with workshop(make) as upstream:
        rows = [Provider(name="deepgram", base_url=upstream.base_url, api_keys=("house",))]
        async with lit(data, others=rows, **settings) as bed:
            yield bed, upstream


def form(sound: bytes, **fields: str) -> bytes:
    parts = [f'content-disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    parts.append(b'content-disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n' + sound)
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


def opened(bed: Bed, account: Account, path: str, body: Any, headers: dict[str, str]) -> Any:
    return exchange(bed.port, path, body, {"authorization": f"Bearer {account.key}"} | headers)


async def heard(bed: Bed, account: Account, sound: bytes, path: str = TRANSCRIPTIONS, **fields: str) -> Answer:
    async with opened(bed, account, path, form(sound, **fields), FORM) as sent:
        answer: Answer = await sent.answer()
        return answer


async def spoken(bed: Bed, account: Account, path: str = SPEECH, **fields: Any) -> Answer:
    async with opened(bed, account, path, SAID | fields, {}) as sent:
        answer: Answer = await sent.answer()
        return answer


async def explained(bed: Bed, account: Account, answer: Answer) -> Any:
    """What /v1/generation says of a call."""
    path = f"/v1/generation?id={answer.headers['x-perquery-generation-id']}"
    headers = {"authorization": f"Bearer {account.key}"}
    async with exchange(bed.port, path, b"", headers, method="GET") as sent:
        return (await sent.answer()).json()


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1", ""])
def test_a_transcription(tmp_path: Path, prefix: str) -> None:
    """Six seconds, as the upstream says: the file's own four are only what is held for."""

    async def run() -> None:
        async with studio(tmp_path) as (bed, upstream):
            account = await bed.account()
            answer = await heard(bed, account, wav(4), f"{prefix}/audio/transcriptions", model="nova-3")
            cost = nano(6 * SECOND)
            assert (answer.status, answer.cost()) == (200, cost)
            assert answer.json()["text"] == HEARD["results"]["channels"][0]["alternatives"][0]["transcript"]
            (order,) = upstream.orders
            assert (order.data, order.headers["authorization"]) == (wav(4), "Token house")
            assert await bed.spent(account) == cost
            row = await bed.only_row(account)
            assert (row["kind"], row["model"], row["rule"]) == ("transcription", "deepgram/nova-3", "complete")
            assert row["detail"]["lines"] == [
                {"unit": "second", "count": 6, "pico_per_unit": SECOND, "pico": 6 * SECOND}
            ]
            assert "second" in str(await explained(bed, account, answer))

    asyncio.run(run())


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1", ""])
def test_speech(tmp_path: Path, prefix: str) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, upstream):
            account = await bed.account()
            answer = await spoken(bed, account, f"{prefix}/audio/speech")
            cost = nano(12 * CHARACTER)
            assert (answer.status, answer.headers["content-type"]) == (200, "audio/mpeg")
            assert answer.headers["x-perquery-cost"] == money.plain(cost)
            assert "model=aura-2-arcas-en" in upstream.orders[0].path
            assert await bed.spent(account) == cost
            row = await bed.only_row(account)
            assert (row["kind"], row["model"], row["rule"]) == ("speech", "deepgram/aura-2", "complete")
            assert (row["detail"]["lines"][0]["unit"], row["detail"]["lines"][0]["count"]) == ("character", 12)
            assert "character" in str(await explained(bed, account, answer))

    asyncio.run(run())


def test_sound_leaves_as_it_comes(tmp_path: Path) -> None:
    async def run() -> None:
        gate = asyncio.Event()
        made = Made([b"first", b"last"], kind="audio/mpeg", gate=gate)
        async with studio(tmp_path, lambda _: made) as (bed, _):
            account = await bed.account()
            async with opened(bed, account, SPEECH, SAID, {}) as sent:
                await sent.until(b"first")
                gate.set()
                assert (await sent.answer()).body == b"firstlast"

    asyncio.run(run())


def test_what_is_held_for(tmp_path: Path) -> None:
    """A second more than the sound plays; as many characters as the text has bytes."""

    async def run() -> None:
        gate = asyncio.Event()

        def made(order: Order) -> Made:
            good = answers(order)
            return Made(HEARD if "/listen" in order.path else b"sound", kind=good.kind, gate=gate)

        async with studio(tmp_path, made) as (bed, upstream):
            account = await bed.account()
            for path, body, headers, most in (
                (TRANSCRIPTIONS, form(wav(4)), FORM, 5 * SECOND),
                (SPEECH, {"input": "é" * 10}, {}, 20 * CHARACTER),
            ):
                gate.clear()
                async with opened(bed, account, path, body, headers) as sent:
                    await (await upstream.arrival()).reached.wait()
                    assert bed.figures(account).held == nano(most)
                    gate.set()
                    assert (await sent.answer()).status == 200
                await bed.quiet()

    asyncio.run(run())


@pytest.mark.parametrize(("path", "body", "headers"), [(TRANSCRIPTIONS, form(wav(4)), FORM), (SPEECH, SAID, {})])
def test_without_money_nobody_is_asked(tmp_path: Path, path: str, body: Any, headers: dict[str, str]) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, upstream):
            account = await bed.account("0.000000001")
            async with opened(bed, account, path, body, headers) as sent:
                assert (await sent.answer()).status == 402
            assert upstream.orders == []

    asyncio.run(run())


def test_the_largest_file_and_one_that_is_too_large(tmp_path: Path) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, upstream):
            account = await bed.account()
            full = wav(0, samples=bytes(FILE_BYTES_MAX - len(wav(0))), rate=2_000_000)
            assert (len(full), (await heard(bed, account, full)).status) == (FILE_BYTES_MAX, 200)
            assert upstream.orders[0].data == full
            for sound in (full + b"\0", full + bytes(2**20)):
                answer = await heard(bed, account, sound)
                assert (answer.status, answer.json()["error"]["code"]) == (413, "request_too_large")
            assert len(upstream.orders) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sound", "status", "code"),
    [
        (b"", 400, "damaged_audio"),
        (wav(1)[:30], 400, "damaged_audio"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), 415, "unsupported_audio"),
        (b"just words", 415, "unsupported_audio"),
    ],
)
def test_what_is_no_sound_is_refused_for_nothing(tmp_path: Path, sound: bytes, status: int, code: str) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, upstream):
            account = await bed.account()
            answer = await heard(bed, account, sound)
            assert (answer.status, answer.json()["error"]["code"], upstream.orders) == (status, code, [])
            assert await bed.spent(account) == 0

    asyncio.run(run())


def test_what_is_cut_off_counts_as_far_as_it_goes(tmp_path: Path) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, _):
            account = await bed.account()
            whole = wav(60)
            assert (await heard(bed, account, whole[: len(whole) // 10])).status == 200
            assert (await bed.only_row(account))["rule"] == "complete"

    asyncio.run(run())


@pytest.mark.parametrize("body", [b"{}", b"", b'{"model": "nova-3", "file": "x"}'])
def test_a_body_that_is_no_form(tmp_path: Path, body: bytes) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, _):
            account = await bed.account()
            async with opened(bed, account, TRANSCRIPTIONS, body, {}) as sent:
                answer = await sent.answer()
            assert answer.status == 400

    asyncio.run(run())


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"voice": "alloy"}, 422, "wrong_voice"),
        ({"voice": "aura-2-viktoria-de", "language": "en"}, 422, "wrong_voice"),
        ({"input": "x" * 2_001}, 400, "invalid_request"),
        ({"input": ""}, 400, "invalid_request"),
        ({"response_format": "midi"}, 400, "invalid_request"),
        ({"model": "nova-3"}, 400, "wrong_endpoint"),
    ],
)
def test_speech_that_is_refused_for_nothing(tmp_path: Path, fields: dict[str, Any], status: int, code: str) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, upstream):
            account = await bed.account()
            answer = await spoken(bed, account, **fields)
            assert (answer.status, answer.json()["error"]["code"], upstream.orders) == (status, code, [])
            assert await bed.spent(account) == 0

    asyncio.run(run())


def test_who_leaves_while_sending_owes_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, upstream):
            account = await bed.account()
            whole = form(wav(4))
            sized = FORM | {"content-length": str(len(whole))}
            async with opened(bed, account, TRANSCRIPTIONS, whole[: len(whole) // 2], sized) as sent:
                await turns(5)
                sent.hang_up()
            await bed.noticed()
            assert (await bed.spent(account), upstream.orders, bed.rows(account)) == (0, [], [])

    asyncio.run(run())


def test_who_leaves_pays_for_what_is_done(tmp_path: Path) -> None:
    """Both are billed there whatever happens here, so they are waited for."""

    async def run() -> None:
        gate = asyncio.Event()

        def made(order: Order) -> Made:
            good = answers(order)
            return Made(good.body, kind=good.kind, headers=good.headers, gate=gate)

        async with studio(tmp_path, made) as (bed, upstream):
            account = await bed.account()
            for path, body, headers in ((TRANSCRIPTIONS, form(wav(4)), FORM), (SPEECH, SAID, {})):
                gate.clear()
                async with opened(bed, account, path, body, headers) as sent:
                    order = await upstream.arrival()
                    await order.reached.wait()
                    if path == SPEECH:
                        await sent.until(b"sound")
                    sent.hang_up()
                await bed.noticed()
                gate.set()
                await bed.quiet()
            assert await bed.spent(account) == nano(6 * SECOND) + nano(12 * CHARACTER)
            assert [row["rule"] for row in bed.rows(account)] == ["caller_left_drained"] * 2

    asyncio.run(run())


def test_sound_that_breaks_off_is_free_and_does_not_pass_for_whole(tmp_path: Path) -> None:
    async def run() -> None:
        made = Made([b"first", b"second"], kind="audio/mpeg", fault="break")
        async with studio(tmp_path, lambda _: made) as (bed, _):
            account = await bed.account()
            async with opened(bed, account, SPEECH, SAID, {}) as sent:
                with pytest.raises(asyncio.IncompleteReadError):
                    await sent.answer()
            assert await bed.spent(account) == 0
            assert (await bed.only_row(account))["rule"] == "upstream_error"

    asyncio.run(run())


@pytest.mark.parametrize(("status", "told"), [(500, 503), (401, 503), (429, 503), (400, 400)])
def test_upstreams_that_refuse(tmp_path: Path, status: int, told: int) -> None:
    async def run() -> None:
        failure = Made({"err_code": "X", "err_msg": "In the vendor's own words."}, status)
        async with studio(tmp_path, lambda _: failure) as (bed, _):
            account = await bed.account()
            assert (await heard(bed, account, wav(1))).status == told
            assert (await spoken(bed, account)).status == told
            assert await bed.spent(account) == 0

    asyncio.run(run())


def test_the_same_request_is_done_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, upstream):
            account = await bed.account()
            once = {"idempotency-key": "k"}
            for path, body, headers in ((SPEECH, SAID, {}), (TRANSCRIPTIONS, form(wav(1)), FORM)):
                key = {"idempotency-key": path}
                bodies = []
                for _ in range(2):
                    async with opened(bed, account, path, body, headers | once | key) as sent:
                        bodies.append((await sent.answer()).body)
                assert bodies[0] == bodies[1]
            assert (len(upstream.orders), await bed.spent(account)) == (2, nano(12 * CHARACTER) + nano(6 * SECOND))

    asyncio.run(run())


def test_lists_are_free_and_need_no_key(tmp_path: Path) -> None:
    async def run() -> None:
        async with studio(tmp_path) as (bed, _):
            for prefix in ("/v1", "/api/v1", ""):
                async with exchange(bed.port, f"{prefix}/audio/models", b"", {}, method="GET") as sent:
                    models = (await sent.answer()).json()["data"]
                assert [model["id"] for model in models] == ["deepgram/nova-3", "deepgram/aura-2", "deepgram/nova-2"]
                assert [str(model["base_price"]) for model in models[:2]] == ["0.00520000002", "0.03"]
                assert [str(model["api_price"]) for model in models[:2]] == ["0.005460000021", "0.0315"]
                assert [model["price_unit"] for model in models[:2]] == ["minute", "1K characters"]
                query = f"{prefix}/audio/voices?language=de&model=deepgram_aura_2"
                async with exchange(bed.port, query, b"", {}, method="GET") as sent:
                    voices = (await sent.answer()).json()["data"]
                assert "aura-2-viktoria-de" in [voice["id"] for voice in voices]
                assert {voice["model"] for voice in voices} == {"deepgram/aura-2"}

    asyncio.run(run())
