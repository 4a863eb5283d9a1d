"""Embeddings as upstreams speak them: OpenAI and those who follow it, Google, Mistral, Cohere, Voyage.

It must never decide money. Where a host counts nothing, what is likely is its usage, marked estimated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import quote

from perquery.calls import Ask, Usage, Work
from perquery.errors import BadRequest
from perquery.providers.trade import Posted, count_in, counted, garbage, written


class OpenAIEmbeddings(Posted):
    """POST /embeddings. dimensions: what the host calls the length that is wanted."""

    path = "/embeddings"
    dimensions: ClassVar[str] = "dimensions"
    takes: ClassVar[frozenset[str]] = frozenset({"input", "encoding_format", "dimensions"})

    def body(self, ask: Ask, work: Work) -> bytes:
        asked = {name: value for name, value in work.body.items() if name in self.takes}
        if "dimensions" in asked:
            asked[self.dimensions] = asked.pop("dimensions")
        return written(asked | {"model": ask.model})

    def read(self, answer: dict[str, Any], work: Work) -> tuple[dict[str, Any], Usage]:
        rows = answer.get("data")
        if not isinstance(rows, list):
            raise garbage("holds no embeddings")
        usage = answer.get("usage")
        vectors = [row.get("embedding") if isinstance(row, dict) else None for row in sorted(rows, key=_place)]
        tokens = count_in(usage, "prompt_tokens")
        return _answer(vectors, work), counted(tokens if tokens is not None else count_in(usage, "total_tokens"), work)


class MistralEmbeddings(OpenAIEmbeddings):
    """The same; the length has another name."""

    dimensions = "output_dimension"


class VoyageEmbeddings(OpenAIEmbeddings):
    """The same again, for texts; floats are what it answers where no encoding is named."""

    dimensions = "output_dimension"
    takes = frozenset({"input", "dimensions"})

    def body(self, ask: Ask, work: Work) -> bytes:
        _texts(work)
        return super().body(ask, work)


class GeminiEmbeddings(Posted):
    """POST /models/{model}:batchEmbedContents."""

    def url(self, ask: Ask, work: Work) -> str:
        return f"{self._base_url}/models/{quote(ask.model, safe='')}:batchEmbedContents"

    def headers(self, key: str) -> dict[str, str]:
        return {"content-type": "application/json", "x-goog-api-key": key}

    def body(self, ask: Ask, work: Work) -> bytes:
        wish = {"outputDimensionality": work.body["dimensions"]} if "dimensions" in work.body else {}
        model = {"model": f"models/{ask.model}"} | wish
        return written({"requests": [model | {"content": {"parts": [{"text": text}]}} for text in _texts(work)]})

    def read(self, answer: dict[str, Any], work: Work) -> tuple[dict[str, Any], Usage]:
        rows = answer.get("embeddings")
        if not isinstance(rows, list):
            raise garbage("holds no embeddings")
        vectors = [row.get("values") if isinstance(row, dict) else None for row in rows]
        return _answer(vectors, work), counted(count_in(answer.get("usageMetadata"), "promptTokenCount"), work)


class CohereEmbeddings(Posted):
    """POST /embed. It wants to know what the texts are for; callers of OpenAI's shape do not say."""

    path = "/embed"

    def body(self, ask: Ask, work: Work) -> bytes:
        asked = {"model": ask.model, "texts": _texts(work), "embedding_types": ["float"]}
        asked["input_type"] = work.body.get("input_type", "search_document")
        if "dimensions" in work.body:
            asked["output_dimension"] = work.body["dimensions"]
        return written(asked)

    def read(self, answer: dict[str, Any], work: Work) -> tuple[dict[str, Any], Usage]:
        found = answer.get("embeddings")
        vectors = found.get("float") if isinstance(found, dict) else None
        if not isinstance(vectors, list):
            raise garbage("holds no embeddings")
        meta = answer.get("meta")
        billed = meta.get("billed_units") if isinstance(meta, dict) else None
        return _answer(vectors, work), counted(count_in(billed, "input_tokens"), work)


def _place(row: Any) -> int:
    place = row.get("index") if isinstance(row, dict) else None
    return place if type(place) is int else 0


def _texts(work: Work) -> list[str]:
    """The input, where only texts are taken: tokens are another vendor's."""
    texts: list[str] = work.body["input"]
    if not isinstance(texts[0], str):
        raise BadRequest(f"{work.model} takes texts, no tokens.", param="input")
    return texts


def _answer(vectors: Iterable[Any], work: Work) -> dict[str, Any]:
    """OpenAI's answer. Raises UpstreamError where it is not one vector for each input."""
    rows = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    if len(rows) != len(work.body["input"]) or not all(_is_vector(row["embedding"]) for row in rows):
        raise garbage("holds no embedding for each input")
    return {"object": "list", "data": rows}


def _is_vector(vector: Any) -> bool:
    return isinstance(vector, str) or (isinstance(vector, list) and all(type(one) in (float, int) for one in vector))
