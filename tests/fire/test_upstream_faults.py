"""What upstreams do wrong, and what of it the caller sees and pays: nothing of the vendor's, nothing too much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from perquery.metering.settlement import FREE
from tests.fire.bed import HOUSE_KEY, Bed, lit, price
from tests.fire.client import Answer
from tests.fire.hearth import Hearth, burning
from tests.upstream import Script

VENDOR = "Vendor Inc. org-4711abcdef says sk-vendorsecret1234"
QUICK = {"total_s": 5.0, "idle_s": 0.1}
BODY = {"model": "stub-model", "messages": [{"role": "user", "content": "Say something."}]}


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    with burning(tmp_path_factory.mktemp("hearth"), timeouts=QUICK) as lasting:
        yield lasting


def estimate(stream: bool) -> int:
    """The input, four bytes a token, where the upstream's figures never came."""
    return -(-len(json.dumps(BODY | {"stream": stream})) // 4)


async def asked(bed: Bed, script: Script, *, stream: bool, times: int = 1) -> tuple[Answer, int, dict[str, Any]]:
    """(the answer, what was spent, the receipt); the upstream does `script` to the first `times` requests."""
    account = await bed.account()
    bed.upstream.scripts = [script] * times
    answer = await bed.ask(account, stream=stream)
    spent = await bed.spent(account)
    row = await bed.only_row(account)
    assert row["cost_nano"] == spent
    return answer, spent, row


def hides_the_vendor(answer: Answer) -> None:
    said = answer.body + repr(answer.headers).encode()
    for secret in (b"Vendor Inc", b"org-4711", b"sk-vendor", HOUSE_KEY.encode(), b"scripted-stub"):
        assert secret not in said


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("status", "code"), [(400, "bad_thing"), (413, "too_long"), (422, "unprocessable_thing")])
def test_the_callers_own_faults_pass_on(hearth: Hearth, stream: bool, status: int, code: str) -> None:
    async def run() -> None:
        bed = hearth.bed
        error = {"message": f"temperature is out of range, {VENDOR}", "code": code, "param": "temperature"}
        answer, spent, row = await asked(bed, Script(status=status, error=error), stream=stream)
        told = answer.json()["error"]
        assert (answer.status, told["code"], told["param"]) == (status, code, "temperature")
        assert "temperature is out of range" in told["message"]
        assert b"sk-vendor" not in answer.body
        assert b"org-4711" not in answer.body
        assert (spent, row["rule"], len(bed.upstream.requests)) == (0, "upstream_error", 1)

    hearth.run(run())


HOUSE_TROUBLES: list[tuple[str, int, Mapping[str, Any]]] = [
    ("dead key", 401, {"message": f"Incorrect API key provided: {VENDOR}", "code": "invalid_api_key"}),
    ("empty account", 402, {"message": f"Insufficient Balance, {VENDOR}"}),
    ("no access", 403, {"message": f"not allowed, {VENDOR}"}),
    ("unknown model", 404, {"message": f"The model does not exist, {VENDOR}", "code": "model_not_found"}),
    ("unknown model by 400", 400, {"message": f"The model scripted-stub-model does not exist, {VENDOR}"}),
    ("spent quota", 429, {"message": f"You exceeded your current quota, {VENDOR}", "code": "insufficient_quota"}),
    ("low credit by 400", 400, {"message": f"Your credit balance is too low, {VENDOR}"}),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("status", "error"), [each[1:] for each in HOUSE_TROUBLES], ids=[e[0] for e in HOUSE_TROUBLES])
def test_the_houses_troubles_are_not_the_callers(
    hearth: Hearth, stream: bool, status: int, error: Mapping[str, Any]
) -> None:
    async def run() -> None:
        bed = hearth.bed
        answer, spent, _ = await asked(bed, Script(status=status, error=error), stream=stream, times=4)
        assert (answer.status, answer.json()["error"]["code"]) == (503, "upstream_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert len(bed.upstream.requests) == 1, "what cannot mend by itself is not tried again"
        assert spent == 0
        hides_the_vendor(answer)

    hearth.run(run())


@pytest.mark.parametrize(("status", "times"), [(500, 1), (502, 2), (529, 1), (503, 3), (429, 1)])
def test_what_may_mend_is_tried_again(hearth: Hearth, status: int, times: int) -> None:
    async def run() -> None:
        bed = hearth.bed
        answer, spent, row = await asked(bed, Script(status=status), stream=True, times=times)
        assert (answer.status, answer.complete, spent) == (200, True, price(10, 5))
        assert [each["status"] for each in row["detail"]["attempts"]] == [status] * times

    hearth.run(run())


def test_a_limited_upstream_is_left_alone_for_as_long_as_it_asks(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        script = Script(status=429, retry_after="17", error={"message": VENDOR})
        answer, spent, _ = await asked(bed, script, stream=False)
        assert (answer.status, answer.headers["retry-after"], spent) == (503, "17", 0)
        assert len(bed.upstream.requests) == 1
        hides_the_vendor(answer)

    hearth.run(run())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"text"', b"null", b'[{"error": 5}]', b'{"error": []}', b"\xff\xfe"]
)
def test_strange_error_bodies(hearth: Hearth, stream: bool, body: bytes) -> None:
    async def run() -> None:
        bed = hearth.bed
        answer, spent, _ = await asked(bed, Script(status=404, error=body), stream=stream)
        assert (answer.status, spent) == (503, 0)

    hearth.run(run())


def test_a_hang_before_the_head_ends_with_the_total_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with lit(tmp_path, timeouts={"total_s": 0.5}) as bed:
            answer, spent, row = await asked(bed, Script(fault="head"), stream=True)
            assert (answer.status, spent) == (503, 0)
            assert row["detail"]["attempts"][0]["error"] == "timeout"
            assert len(bed.upstream.requests) == 1, "it may still work on it, and bill it"

    asyncio.run(run())


@pytest.mark.parametrize("fault", ["hang", "break", "garbage", "error_event"])
@pytest.mark.parametrize("after", [1, 3])
def test_a_stream_that_fails_within_is_free_and_says_so(hearth: Hearth, fault: str, after: int) -> None:
    async def run() -> None:
        bed = hearth.bed
        script = Script(chunks=5, fault=fault, after=after, error={"message": VENDOR})
        answer, spent, row = await asked(bed, script, stream=True)
        assert answer.status == 200
        assert answer.text() == "yes " * after
        told = answer.events()[-2]
        assert (told["error"]["code"], told["choices"][0]["finish_reason"]) == ("upstream_unavailable", "error")
        assert answer.complete
        assert (spent, row["rule"], row["error_code"]) == (0, "upstream_error", "upstream_unavailable")
        assert row["unbilled_nano"] > 0
        assert len(row["detail"]["attempts"]) == 1
        hides_the_vendor(answer)

    hearth.run(run())


@pytest.mark.parametrize("fault", ["hang", "break", "garbage", "error_event"])
def test_a_stream_that_fails_within_is_a_503_to_a_plain_caller(hearth: Hearth, fault: str) -> None:
    """The balance is small, so that the gateway streams from upstream for a plain caller."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.01")
        bed.upstream.scripts = [Script(chunks=5, fault=fault, after=3, error={"message": VENDOR})]
        answer = await bed.ask(account, stream=False)
        assert bed.upstream.requests[0].body["stream"] is True
        assert (answer.status, answer.json()["error"]["code"]) == (503, "upstream_unavailable")
        assert await bed.spent(account) == 0
        hides_the_vendor(answer)

    hearth.run(run())


@pytest.mark.parametrize(
    ("fault", "stream"),
    [(fault, stream) for fault in ("garbage", "html", "error_body", "break") for stream in (True, False)]
    + [("error_event", True)],
)
def test_failures_in_the_place_of_an_answer_lead_to_the_next_upstream(hearth: Hearth, stream: bool, fault: str) -> None:
    """Nothing has reached the caller: another attempt is made, here at the same upstream or not at all."""

    async def run() -> None:
        bed = hearth.bed
        script = Script(fault=fault, error={"message": VENDOR})
        answer, spent, row = await asked(bed, script, stream=stream)
        if answer.status == 200:
            assert spent == price(10, 5)
        else:
            assert (answer.status, spent) == (503, 0)
        assert len(row["detail"]["attempts"]) == 1
        hides_the_vendor(answer)

    hearth.run(run())


USAGES: list[tuple[str, Script, int, str]] = [
    ("repeated on every chunk: the last one counts", Script(usage="repeated", prompt=30), price(30, 5), "complete"),
    ("on the chunk of the finish reason", Script(usage="together", prompt=30), price(30, 5), "complete"),
    ("explicit zero is a figure", Script(usage="zero"), 0, "complete"),
    ("more than was relayed", Script(completion=900), price(10, 900), "complete"),
    ("with a cost of the vendor's own, which is not the caller's", Script(usage="cost"), price(10, 5), "complete"),
    ("none", Script(usage="none"), price(estimate(True), 5), "complete_estimated"),
    ("none, and no [DONE]", Script(usage="none", done=False), price(estimate(True), 5), "complete_estimated"),
    ("no finish reason", Script(finish=""), price(10, 5), "complete"),
    ("nothing at all", Script(chunks=0, finish="", prompt=99, completion=0), 0, "empty"),
    ("torn characters", Script(text="é😀€", split=3, chunks=3), price(10, 3), "complete"),
    ("refused by a filter", Script(chunks=0, finish="content_filter"), price(10, 0), "complete"),
]


@pytest.mark.parametrize(("script", "cost", "rule"), [each[1:] for each in USAGES], ids=[each[0] for each in USAGES])
def test_figures_of_a_stream(hearth: Hearth, script: Script, cost: int, rule: str) -> None:
    async def run() -> None:
        bed = hearth.bed
        answer, spent, row = await asked(bed, script, stream=True)
        assert (answer.status, answer.complete) == (200, True)
        assert answer.text() == script.text * script.chunks
        assert (spent, row["rule"], answer.cost()) == (cost, rule, cost)
        assert (rule in FREE) == (row["unbilled_nano"] > 0)

    hearth.run(run())


PLAIN_USAGES = [each for each in USAGES if each[0] not in ("torn characters", "none, and no [DONE]", "none")]


@pytest.mark.parametrize(("script", "cost", "rule"), [e[1:] for e in PLAIN_USAGES], ids=[e[0] for e in PLAIN_USAGES])
def test_figures_of_a_plain_answer(hearth: Hearth, script: Script, cost: int, rule: str) -> None:
    async def run() -> None:
        bed = hearth.bed
        answer, spent, row = await asked(bed, script, stream=False)
        assert answer.status == 200
        assert (answer.json()["choices"][0]["message"]["content"] or "") == script.text * script.chunks
        assert (spent, row["rule"], answer.cost()) == (cost, rule, cost)
        assert "0.000123" not in answer.body.decode()

    hearth.run(run())


def test_a_stream_that_stays_open_after_its_end_keeps_nobody_waiting(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        answer, spent, _ = await asked(bed, Script(fault="open"), stream=True)
        assert (answer.complete, spent) == (True, price(10, 5))
        await asyncio.wait_for(bed.upstream.requests[0].hung_up.wait(), 60)

    hearth.run(run())
