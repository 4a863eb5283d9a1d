"""Embeddings, reranking and moderation, the caller's side: what is refused, what is held for, what is answered."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery import money
from perquery.calls import Figures, Price, Route, Work
from perquery.dialects import embeddings, moderations, rerank
from perquery.dialects.forms import Form
from perquery.errors import BadRequest

BY_TOKEN = Route("a", "m", Price(((0, {"input": 1}),)))
BY_SEARCH = Route("a", "m", Price(((0, {"search": 1}),)))
FIGURES = Figures({"input": 5}, {"prompt_tokens": 5, "total_tokens": 5}, {"cost": money.number(7)}, "")


def embedded(**fields: Any) -> Work:
    return embeddings.parse(Form({"model": "m", "input": "x"} | fields, (), b""))


def ranked(**fields: Any) -> Work:
    return rerank.parse(Form({"model": "m", "query": "q", "documents": ["a", "bb"]} | fields, (), b""))


@pytest.mark.parametrize(
    "fields",
    [
        {"input": ""},
        {"input": []},
        {"input": ["x", ""]},
        {"input": ["x", 1]},
        {"input": [[]]},
        {"input": [[1], "x"]},
        {"input": [-1]},
        {"input": [True]},
        {"input": [1.5]},
        {"input": {"text": "x"}},
        {"input": None},
        {"input": ["x"] * 2_049},
        {"model": ""},
        {"model": None},
        {"dimensions": 0},
        {"dimensions": "2"},
        {"encoding_format": "int8"},
        {"encoding_format": 1},
        {"input_type": 1},
    ],
    ids=str,
)
def test_bad_embeddings(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as raised:
        embedded(**fields)
    assert raised.value.param in fields


@pytest.mark.parametrize(
    ("input", "inputs"),
    [("x", ["x"]), (["x", "y"], ["x", "y"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_inputs(input: Any, inputs: list[Any]) -> None:
    assert embedded(input=input).body["input"] == inputs


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20))
def test_no_tokenizer_counts_more_than_is_held_for(texts: list[str]) -> None:
    held = embedded(input=texts).most(BY_TOKEN)["input"]
    assert held >= sum(len(text.encode("utf-8", "replace")) + 2 for text in texts)


def answered(format: str, *vectors: Any) -> Any:
    rows = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)]
    return orjson.loads(embedded(encoding_format=format).render({"data": rows}, FIGURES))


PACKED = base64.b64encode(struct.pack("<3f", 0.5, -1, 0.1)).decode()


@pytest.mark.parametrize("vector", [[0.5, -1, 0.1], PACKED], ids=["floats", "packed"])
def test_vectors_come_as_they_are_asked_for(vector: Any) -> None:
    assert [row["embedding"] for row in answered("base64", vector)["data"]] == [PACKED]
    floats = [row["embedding"] for row in answered("float", vector)["data"]]
    assert floats == [pytest.approx([0.5, -1, 0.1], rel=1e-6)]


def test_an_answer_has_its_price() -> None:
    answer = answered("float", [1.0])
    assert (answer["object"], answer["model"]) == ("list", "m")
    assert answer["usage"] == {"prompt_tokens": 5, "total_tokens": 5, "cost": 7e-9}


@pytest.mark.parametrize(
    "fields",
    [
        {"query": ""},
        {"query": None},
        {"documents": []},
        {"documents": "x"},
        {"documents": [1]},
        {"documents": [{"title": "x"}]},
        {"documents": ["x"] * 1_001},
        {"top_n": 0},
        {"top_n": "1"},
        {"return_documents": 1},
        {"model": None},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_bad_reranking(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as raised:
        ranked(**fields)
    assert raised.value.param in fields


def test_the_question_is_read_with_every_document() -> None:
    assert ranked(query="x" * 100, documents=["y" * 10] * 3).most(BY_TOKEN) == {"input": 30 + 3 * 108}


@pytest.mark.parametrize(
    ("query", "documents", "searches"),
    [
        ("q", ["d"], 1),
        ("q", ["d"] * 100, 1),
        ("q", ["d"] * 101, 2),
        ("q", ["d" * 4_990] * 100, 10),
        ("q" * 600, ["d" * 9_000], 1),
    ],
    ids=range(5),
)
def test_long_documents_are_several(query: str, documents: list[str], searches: int) -> None:
    assert ranked(query=query, documents=documents).most(BY_SEARCH) == {"search": searches}


def test_documents_come_back_only_where_they_are_asked_for() -> None:
    found = {"results": [{"index": 1, "relevance_score": 0.5}]}
    plain = orjson.loads(ranked().render(found, FIGURES))
    assert plain["results"] == found["results"]
    assert plain["usage"]["cost"] == 7e-9
    shown = orjson.loads(ranked(return_documents=True).render(found, FIGURES))
    assert shown["results"] == [{"index": 1, "relevance_score": 0.5, "document": {"text": "bb"}}]


@pytest.mark.parametrize(
    "given",
    [
        "x",
        ["x", "y"],
        [{"type": "text", "text": "x"}],
        [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}],
    ],
)
def test_moderation_takes_texts_and_parts(given: Any) -> None:
    work = moderations.parse(Form({"input": given}, (), b""))
    assert (work.model, work.body) == ("omni-moderation-latest", {"input": given})


@pytest.mark.parametrize("given", [None, [], [1], [{"type": "text"}], [{"type": "image_url", "image_url": "x"}], {}])
def test_bad_moderation(given: Any) -> None:
    with pytest.raises(BadRequest) as raised:
        moderations.parse(Form({"input": given}, (), b""))
    assert raised.value.param == "input"
