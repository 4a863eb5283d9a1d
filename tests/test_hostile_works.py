"""Bad bodies against the endpoints that are not chat: no JSON, no form, wrong types, too much, broken off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.gate import Gate, attacked, connected
from tests.test_hostile import NOT_JSON, VALUES

EMBEDDINGS: Final = "/v1/embeddings"
RERANK: Final = "/v1/rerank"
MODERATIONS: Final = "/v1/moderations"
GOOD: Final = {"model": "local/all-minilm-l6-v2", "input": "hello"}
MULTIPART: Final = {"content-type": "multipart/form-data; boundary=b"}
PART: Final = b'--b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with attacked(tmp_path_factory.mktemp("works")) as gate:
        yield gate


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("path", [EMBEDDINGS, RERANK, MODERATIONS])
def test_a_bad_body_is_refused(gate: Gate, path: str, body: bytes) -> None:
    assert gate.post(path, body).status == 400


FORMS: Final = {
    "nothing": b"",
    "no parts": b"--b--",
    "no end": PART % (b"model", b"x"),
    "half a head": b"--b\r\ncontent-disposition: form-data",
    "no name": b"--b\r\n\r\nx\r\n--b--",
    "many parts": PART % (b"a", b"x") * 10_000 + b"--b--",
    "a long head": b"--b\r\n" + b"x: y\r\n" * 100_000 + b"\r\n\r\nx\r\n--b--",
    "not UTF-8": PART % (b"model", b"\xff") + b"--b--",
    "only delimiters": b"\r\n--b" * 100_000,
    "texts alone": PART % (b"model", b"local/all-minilm-l6-v2") + PART % (b"dimensions", b"3") + b"--b--",
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_a_bad_form_is_refused(gate: Gate, body: bytes) -> None:
    assert gate.post(EMBEDDINGS, body, MULTIPART).status == 400


def test_a_form_is_as_good_as_json(gate: Gate) -> None:
    body = PART % (b"model", b"local/all-minilm-l6-v2") + PART % (b"input", b"hello") + b"--b--"
    assert gate.post(EMBEDDINGS, body, MULTIPART).status == 200


FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "model": (),
    "input": ("text", "bytes", "list"),
    "dimensions": ("integer",),
    "encoding_format": (),
    "user": ("text", "bytes"),
    "anything": tuple(VALUES),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_wrong_type_is_refused(gate: Gate, field: str) -> None:
    for kind, value in VALUES.items():
        answer = gate.post(EMBEDDINGS, GOOD | {field: value})
        if kind in FIELDS[field]:
            assert answer.status == 200, kind
        elif field == "model" and isinstance(value, str):
            assert answer.json()["error"]["code"] == "model_not_found"
        else:
            assert (answer.status, answer.json()["error"]["param"]) == (400, field), kind


@pytest.mark.parametrize("field", ["query", "documents", "top_n", "return_documents"])
def test_a_field_of_reranking_of_the_wrong_type_is_refused(gate: Gate, field: str) -> None:
    good: dict[str, Any] = {"model": "rerank-v3.5", "query": "q", "documents": ["d"]}
    fine = {"query": ("text", "bytes"), "documents": ("list",), "top_n": ("integer",), "return_documents": ("flag",)}
    for kind, value in VALUES.items():
        answer = gate.post(RERANK, good | {field: value})
        expected = (404, "model") if kind in fine[field] else (400, field)
        assert (answer.status, answer.json()["error"]["param"] or "model") == expected, kind


def test_tokens_are_not_for_the_local_model(gate: Gate) -> None:
    answer = gate.post(EMBEDDINGS, GOOD | {"input": [1, 2, 3]})
    assert (answer.status, "tokens" in answer.json()["message"]) == (400, True)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(gate: Gate) -> None:
    head = gate.head("POST", EMBEDDINGS, f"Content-Length: {2**30}")
    answer = gate.raw(head, b"{")
    assert answer is not None and answer.status == 413


def test_a_body_that_breaks_off_costs_nothing(gate: Gate) -> None:
    body = json.dumps(GOOD).encode()
    for size in (0, 1, len(body) - 1):
        head = gate.head("POST", EMBEDDINGS, f"Content-Length: {len(body)}", "Content-Type: application/json")
        with connected(gate.gateway) as connection:
            connection.sendall(head + body[:size])


@pytest.mark.parametrize("path", [EMBEDDINGS, RERANK, MODERATIONS, "/embeddings", "/rerank", "/moderations"])
def test_nobody_without_a_key_is_served(gate: Gate, path: str) -> None:
    assert gate.gateway.call("POST", path, GOOD).status == 401
    assert gate.gateway.call("GET", path).status == 405
