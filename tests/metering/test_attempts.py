"""Which upstreams are asked, how often, and what the caller is told where none answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from perquery.calls import Ask, Dialect, Event, Kind, Price, Reply, Route
from perquery.errors import BadRequest, PerQueryError, TooLarge, Unprocessable, UpstreamError, UpstreamUnavailable
from perquery.metering.attempts import Answer, Attempts, unavailable
from perquery.metering.health import Health

PRICE = Price(((0, {"input": 1, "output": 1}),))
SPOKEN = Event(b"{}", text_bytes=1)


class Spoken:
    """A reply of these events."""

    request_id = "req-1"

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        for event in self.events:
            yield [event]

    def close(self) -> None:
        self.closed = True


class Host:
    """An upstream that plays these turns: an error to raise or a reply to give."""

    cancel_stops_billing = True
    dialects: tuple[Dialect, ...] = ("openai-chat",)
    keeps_nothing = False
    kinds: frozenset[Kind] = frozenset()

    def __init__(self, name: str, *turns: UpstreamError | Spoken) -> None:
        self.name = name
        self.turns = list(turns)
        self.asked = 0

    async def send(self, ask: Ask) -> Reply:
        self.asked += 1
        turn = self.turns.pop(0)
        if isinstance(turn, UpstreamError):
            raise turn
        return turn


def begin(*hosts: Host, wanted: Callable[[], bool] = lambda: True) -> tuple[Answer | PerQueryError, Attempts]:
    attempts = Attempts({host.name: host for host in hosts}, Health(lambda: 0.0))
    routes: Sequence[Route] = [Route(host.name, "m", PRICE) for host in hosts]

    async def run() -> Answer | PerQueryError:
        try:
            return await attempts.begin(routes, lambda route: Ask("m", b"", True, 1, 1), wanted)
        except PerQueryError as error:
            return error

    return asyncio.run(run()), attempts


def down() -> UpstreamError:
    return UpstreamError("down", "x", status=500)


def test_the_first_that_speaks_is_the_answer() -> None:
    answer, attempts = begin(Host("one", down()), Host("two", Spoken(SPOKEN)))
    assert isinstance(answer, Answer)
    assert (answer.route.provider, answer.first) == ("two", [SPOKEN])
    assert attempts.log == [{"provider": "one", "model": "m", "error": "down", "status": 500}]


def test_four_attempts_over_all_routes() -> None:
    one, two, three = (Host(name, down(), down()) for name in ("one", "two", "three"))
    answer, attempts = begin(one, two, three)
    assert isinstance(answer, UpstreamUnavailable)
    assert ([host.asked for host in (one, two, three)], len(attempts.log)) == ([2, 1, 1], 4)


def test_what_was_sent_and_timed_out_goes_to_nobody_else() -> None:
    """It may still be worked on, and billed."""
    two = Host("two", Spoken(SPOKEN))
    answer, _ = begin(Host("one", UpstreamError("timeout", "x", sent=True)), two)
    assert isinstance(answer, UpstreamUnavailable)
    assert two.asked == 0


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (UpstreamError("timeout", "x"), True),
        (UpstreamError("down", "x"), True),
        (UpstreamError("garbage", "x"), True),
        (UpstreamError("down", "x", sent=False), False),
        (UpstreamError("down", "x", status=500, retry_after_s=60), False),
        (UpstreamError("busy", "x", retry_after_s=60), False),
        (UpstreamError("auth", "x"), False),
    ],
    ids=lambda value: f"{value.kind}-{value.status}-{value.sent}" if isinstance(value, UpstreamError) else "",
)
def test_what_broke_off_unanswered_may_be_billed(error: UpstreamError, unknown: bool) -> None:
    _, attempts = begin(Host("one", *[error] * 4))
    assert attempts.unknown is unknown


def test_what_was_stopped_before_its_answer_may_be_billed() -> None:
    class Slow(Host):
        async def send(self, ask: Ask) -> Reply:
            raise asyncio.CancelledError

    attempts = Attempts({"one": Slow("one")}, Health(lambda: 0.0))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(attempts.begin([Route("one", "m", PRICE)], lambda route: Ask("m", b"", True, 1, 1), lambda: True))
    assert attempts.unknown


def test_what_was_never_sent_may_be_sent_elsewhere() -> None:
    answer, _ = begin(Host("one", UpstreamError("timeout", "x", sent=False)), Host("two", Spoken(SPOKEN)))
    assert isinstance(answer, Answer)


@pytest.mark.parametrize("kind", ["auth", "funds", "model", "garbage"])
def test_what_does_not_mend_is_not_tried_again(kind: str) -> None:
    only = Host("one", UpstreamError(kind, "x"))  # type: ignore[arg-type]
    answer, _ = begin(only)
    assert isinstance(answer, UpstreamUnavailable)
    assert only.asked == 1


@pytest.mark.parametrize(("retry_after_s", "asked"), [(None, 2), (0, 2), (30, 1)])
def test_a_wish_to_be_left_alone_is_respected(retry_after_s: int | None, asked: int) -> None:
    only = Host("one", UpstreamError("busy", "x", retry_after_s=retry_after_s), Spoken(SPOKEN))
    answer, _ = begin(only)
    assert only.asked == asked
    if isinstance(answer, UpstreamUnavailable):
        assert answer.headers["retry-after"] == str(retry_after_s)


def busy(retry_after_s: int | None) -> UpstreamError:
    return UpstreamError("busy", "x", status=429, retry_after_s=retry_after_s)


def test_each_route_is_asked_again_by_its_own_failure_not_by_the_last_one() -> None:
    """One asks for patience and one has a dead key; only the third is asked again."""
    one, two = Host("one", busy(30)), Host("two", UpstreamError("auth", "x"))
    three = Host("three", down(), Spoken(SPOKEN))
    answer, attempts = begin(one, two, three)
    assert isinstance(answer, Answer)
    assert ([host.asked for host in (one, two, three)], len(attempts.log)) == ([1, 1, 2], 3)


@pytest.mark.parametrize(
    ("errors", "wait_s"),
    [
        ((busy(9), busy(30)), 9),
        ((busy(30), busy(9)), 9),
        ((busy(3000), busy(200)), 60),
        ((busy(30), UpstreamError("down", "x")), 5),
        ((busy(30), UpstreamError("auth", "x")), 30),
        ((UpstreamError("funds", "x"),), 5),
        ((), 5),
    ],
)
def test_the_caller_is_told_when_the_first_is_due(errors: Sequence[UpstreamError], wait_s: int) -> None:
    assert unavailable(*errors).headers["retry-after"] == str(wait_s)


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequest), (413, TooLarge), (422, Unprocessable)])
def test_the_callers_own_fault_is_passed_on(status: int, kind: type[PerQueryError]) -> None:
    two = Host("two", Spoken(SPOKEN))
    error = UpstreamError("refused", "too hot", status=status, code="c", param="temperature")
    answer, _ = begin(Host("one", error), two)
    assert isinstance(answer, kind)
    assert (answer.message, answer.code, answer.param, two.asked) == ("too hot", "c", "temperature", 0)


def test_nobody_is_asked_for_a_caller_who_has_gone() -> None:
    here = [True]
    one = Host("one", UpstreamError("down", "x"))
    two = Host("two", Spoken(SPOKEN))

    def wanted() -> bool:
        return here[0] if one.asked == 0 else False

    answer, _ = begin(one, two, wanted=wanted)
    assert isinstance(answer, UpstreamUnavailable)
    assert (one.asked, two.asked) == (1, 0)


def test_an_error_in_the_place_of_the_first_event_is_a_failed_attempt_and_closed() -> None:
    broken = Spoken(Event(b"", error=down()))
    answer, attempts = begin(Host("one", broken), Host("two", Spoken(SPOKEN)))
    assert isinstance(answer, Answer)
    assert (broken.closed, attempts.log[0]["error"]) == (True, "down")


def test_an_answer_without_any_event_is_garbage() -> None:
    answer, attempts = begin(Host("one", Spoken()), Host("two", Spoken(SPOKEN)))
    assert isinstance(answer, Answer)
    assert attempts.log[0]["error"] == "garbage"
