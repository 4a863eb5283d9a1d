"""POST /v1/rerank, the caller's side: the shape that Cohere and Jina share. Pure.

A reranker reads the question again with every document, and some bill it so: that is what the hold is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perquery import money
from perquery.calls import Figures, Unit, Work
from perquery.dialects.chat_out import usage_object
from perquery.dialects.fields import check_types, is_count, is_flag, is_text, require
from perquery.dialects.forms import Form

DOCUMENTS_MAX: Final = 1_000
_BYTES_PER_TOKEN: Final = 4
_FRAME_TOKENS: Final = 8  # that a vendor may put around a question and a document
# Cohere: a search is a question with up to a hundred documents, and one longer than 500 tokens counts as several.
_DOCUMENTS_A_SEARCH: Final = 100
_TOKENS_A_PART: Final = 500
_PARTS_MAX: Final = 64  # it reads no more of a document


def parse(form: Form) -> Work:
    """Raises BadRequest."""
    body = form.fields
    require(is_text(body.get("model")) and body["model"] != "", "model", "the name of a model")
    require(is_text(body.get("query")) and body["query"] != "", "query", "a text that is not empty")
    check_types(body, {"top_n": is_count, "return_documents": is_flag})
    documents = _documents(body.get("documents"))
    asked: dict[str, Any] = {"query": body["query"], "documents": documents}
    if body.get("top_n") is not None:
        asked["top_n"] = min(body["top_n"], len(documents))
    sizes = [_bytes(text) for text in documents]
    query = _bytes(body["query"])
    most: dict[Unit, int] = {
        "input": sum(sizes) + len(sizes) * (query + _FRAME_TOKENS),
        "search": -(-sum(_parts(size, query) for size in sizes) // _DOCUMENTS_A_SEARCH),
    }
    likely: dict[Unit, int] = {
        "input": max(1, -(-(sum(sizes) + len(sizes) * query) // _BYTES_PER_TOKEN)),
        "search": -(-len(sizes) // _DOCUMENTS_A_SEARCH),
    }
    shown = documents if body.get("return_documents") else None
    return Work(
        kind="rerank",
        model=body["model"],
        body=asked,
        most=lambda route: _priced(most, route.price.at(0)),
        likely=likely,
        render=lambda answer, figures: _rendered(answer, figures, shown),
        retried=True,
    )


def _documents(given: Any) -> list[str]:
    """Texts, or objects that have one."""
    texts: list[Any] = (
        [one.get("text") if isinstance(one, dict) else one for one in given] if isinstance(given, list) else []
    )
    fine = 0 < len(texts) <= DOCUMENTS_MAX and all(isinstance(text, str) for text in texts)
    require(fine, "documents", f"an array of 1 to {DOCUMENTS_MAX} texts, or of objects with a `text`")
    return texts


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _parts(size: int, query: int) -> int:
    """How many documents one counts as, at most: a token for each byte, and the question in every part."""
    room = max(1, _TOKENS_A_PART - query)
    return max(1, min(_PARTS_MAX, -(-size // room)))


def _priced(most: Mapping[Unit, int], prices: Mapping[Unit, int]) -> Mapping[Unit, int]:
    """By searches or by tokens, never by both."""
    unit: Unit = "search" if "search" in prices else "input"
    return {unit: most[unit]}


def _rendered(answer: Mapping[str, Any], figures: Figures, documents: list[str] | None) -> bytes:
    results = answer["results"]
    if documents is not None:
        results = [row | {"document": {"text": documents[row["index"]]}} for row in results]
    usage = usage_object(figures)
    usage.pop("completion_tokens", None)
    return money.json({"object": "list", "results": results, "usage": usage})
