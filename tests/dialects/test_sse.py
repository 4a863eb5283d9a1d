"""The parser of server-sent events, held against a slow one that reads the standard line by line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.dialects import sse
from perquery.dialects.sse import Parser, TooLong

LINES = st.sampled_from(
    [
        *(
            "data: {}",
            "data:{}",
            'data: {"text":"é€😀"}',
            "data",
            "data:",
            "data:  two",
            "data: [DONE]",
            "database: no",
        ),
        *(": a comment", ":", "event: message", "id: 1", "retry: 10", "nothing", "", "", ""),
    ]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
STREAMS = st.tuples(st.booleans(), st.lists(st.tuples(LINES, ENDS), max_size=30)).map(
    lambda made: ("\ufeff" if made[0] else "") + "".join(line + end for line, end in made[1])
)


def slow(text: str) -> list[str]:
    """The standard's algorithm: a decoded stream, a line at a time."""
    lines = re.split("\r\n|\n|\r", text.removeprefix("\ufeff"))
    events: list[str] = []
    data: list[str] = []
    for line in lines[:-1]:  # behind the last line end there is no line yet
        if not line:
            if data:
                events.append("\n".join(data))
            data = []
        name, _, value = line.partition(":")
        if line and name == "data":
            data.append(value.removeprefix(" "))
    return events


def fed(stream: bytes, cuts: list[int]) -> list[str]:
    parser, events, places = Parser(), [], sorted(min(cut, len(stream)) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        events += parser.feed(stream[start:end])
    return [event.decode() for event in events]


@given(STREAMS, st.lists(st.integers(0, 400), max_size=12))
def test_any_cuts_give_the_standard_s_events(text: str, cuts: list[int]) -> None:
    assert fed(text.encode(), cuts) == slow(text)


@given(STREAMS)
def test_single_bytes_give_the_standard_s_events(text: str) -> None:
    stream = text.encode()
    assert fed(stream, list(range(len(stream)))) == slow(text)


def test_an_event_is_there_as_soon_as_its_blank_line_has_begun() -> None:
    parser = Parser()
    assert parser.feed(b"data: 1\r\n\r") == [b"1"]
    assert parser.feed(b"\ndata: 2\n\n") == [b"2"]


def test_comments_bring_nothing() -> None:
    assert Parser().feed(b": OPENROUTER PROCESSING\n\ndata: {}\n\n: keep-alive\n\n") == [b"{}"]


def test_an_event_without_its_blank_line_waits_for_the_end() -> None:
    parser = Parser()
    assert parser.feed(b"data: 1\n\ndata: 2\n") == [b"1"]
    assert parser.end() == [b"2"]


def test_nothing_at_the_end_of_nothing() -> None:
    assert Parser().end() == []


def test_an_event_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 100)
    parser = Parser()
    parser.feed(b"data: " + b"x" * 90)
    with pytest.raises(TooLong):
        parser.feed(b"x" * 10)


def test_a_finished_event_leaves_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 100)
    parser = Parser()
    for _ in range(5):
        assert parser.feed(b"data: " + b"x" * 80) == []
        assert parser.feed(b"\n\n") == [b"x" * 80]


def test_a_large_event_is_not_read_anew_for_every_piece() -> None:
    """Eight megabytes by the kilobyte: pieces are looked at once, or this takes minutes."""
    parser = Parser()
    parser.feed(b"data: ")
    for _ in range(8 * 1024):
        assert parser.feed(b"x" * 1024) == []
    (event,) = parser.feed(b"\n\n")
    assert len(event) == 8 * 2**20
