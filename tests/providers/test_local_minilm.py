"""The local embeddings' process: OpenAI's shape, vectors that mean something, the tokens of its vocabulary."""

from __future__ import annotations

import json
import math
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from perquery.providers.child import Address
from perquery.providers.local_minilm import DIMENSIONS, MODEL, LocalMiniLM
from perquery.providers.wordpiece import WordPiece


@pytest.fixture(scope="module")
def running() -> Iterator[Address]:
    model = LocalMiniLM()
    try:
        yield model.open()
    finally:
        model.stop()


def ask(running: Address, input: Any, key: str = "", **fields: Any) -> Any:
    headers = {"authorization": f"Bearer {key or running.key}", "content-type": "application/json"}
    body = json.dumps({"model": MODEL, "input": input, **fields}).encode()
    request = urllib.request.Request(f"{running.base_url}/embeddings", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def vectors(answer: Any) -> list[list[float]]:
    return [row["embedding"] for row in answer["data"]]


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_what_means_the_same_is_near(running: Address) -> None:
    answer = ask(running, ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose in March."])
    cat, kitten, rates = vectors(answer)
    assert (len(cat), answer["usage"]["prompt_tokens"]) == (DIMENSIONS, 9 + 9 + 8)
    assert likeness(cat, kitten) > 0.6 > 0.1 > abs(likeness(cat, rates))


def test_a_text_alone_or_among_others_is_the_same(running: Address) -> None:
    (alone,) = vectors(ask(running, "yes"))
    among = vectors(ask(running, ["no " * 30, "yes", *["maybe"] * 20]))[1]
    assert likeness(alone, among) == pytest.approx(1, abs=1e-3)


def test_fewer_numbers_have_length_one_too(running: Address) -> None:
    (short,) = vectors(ask(running, "yes", dimensions=64))
    assert len(short) == 64
    assert math.hypot(*short) == pytest.approx(1)


def test_a_long_text_is_cut(running: Address) -> None:
    assert ask(running, "word " * 10_000)["usage"]["prompt_tokens"] == 256


@pytest.mark.parametrize(
    ("input", "fields", "words"),
    [([1, 2], {}, "tokens"), ([], {}, "texts"), ("x", {"dimensions": 385}, "384"), (None, {}, "texts")],
)
def test_what_it_cannot_do_is_refused(running: Address, input: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(HTTPError) as caught:
        ask(running, input, **fields)
    with caught.value as answer:
        assert (answer.code, words in json.load(answer)["error"]["message"]) == (400, True)


def test_nobody_else_is_answered(running: Address) -> None:
    with pytest.raises(HTTPError) as caught:
        ask(running, "x", key="wrong")
    with caught.value as answer:
        assert answer.code == 401


PIECES = {name: place for place, name in enumerate(["[CLS]", "[SEP]", "[UNK]", "un", "##able", "a", ",", "中", "é"])}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("unable", [3, 4]),
        ("UNABLE, a", [3, 4, 6, 5]),
        ("unknown", [2]),
        ("á", [5]),
        ("a中a", [5, 7, 5]),
        ("a\u200b\x00a", [2]),
        ("a" * 101, [2]),
        (" \t\n", []),
        ("", []),
    ],
)
def test_tokens(text: str, ids: list[int]) -> None:
    assert WordPiece(PIECES).encode(text, 99) == [0, *ids, 1]


def test_tokens_are_cut_before_the_end_mark() -> None:
    assert WordPiece(PIECES).encode("a a a a", 4) == [0, 5, 5, 1]
