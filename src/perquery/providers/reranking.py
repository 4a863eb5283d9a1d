"""Reranking as upstreams speak it: Jina's shape (llama.cpp, vLLM, Fireworks), Cohere, Voyage.

Documents are never asked to be sent back: whoever asked has them. It must never decide money.
"""

from __future__ import annotations

from typing import Any, ClassVar

from perquery.calls import Ask, Usage, Work
from perquery.providers.trade import Posted, count_in, counted, garbage, written


class Rerank(Posted):
    """POST /rerank. top: what the host calls the number of results that are wanted."""

    path = "/rerank"
    top: ClassVar[str] = "top_n"

    def body(self, ask: Ask, work: Work) -> bytes:
        asked = {"model": ask.model, "query": work.body["query"], "documents": work.body["documents"]}
        if "top_n" in work.body:
            asked[self.top] = work.body["top_n"]
        return written(asked)

    def read(self, answer: dict[str, Any], work: Work) -> tuple[dict[str, Any], Usage]:
        found = answer.get("results", answer.get("data"))
        if not isinstance(found, list):
            raise garbage("holds no results")
        results = [_result(row, len(work.body["documents"])) for row in found]
        results.sort(key=lambda row: -row["relevance_score"])
        return {"results": results[: work.body.get("top_n")]}, self.usage(answer, work)

    def usage(self, answer: dict[str, Any], work: Work) -> Usage:
        tokens = count_in(answer.get("usage"), "prompt_tokens")
        return counted(tokens if tokens is not None else count_in(answer.get("usage"), "total_tokens"), work)


class VoyageRerank(Rerank):
    """The same; the number has another name."""

    top = "top_k"


class CohereRerank(Rerank):
    """Billed by searches (of up to a hundred documents), newer models by tokens."""

    def usage(self, answer: dict[str, Any], work: Work) -> Usage:
        meta = answer.get("meta")
        billed = meta.get("billed_units") if isinstance(meta, dict) else None
        searches, tokens = count_in(billed, "search_units"), count_in(billed, "input_tokens")
        if tokens is not None:
            return Usage({"input": tokens})
        return Usage({"search": searches}) if searches is not None else Usage(work.likely, estimated=True)


def _result(row: Any, documents: int) -> dict[str, Any]:
    place = row.get("index") if isinstance(row, dict) else None
    score = row.get("relevance_score") if isinstance(row, dict) else None
    if type(place) is not int or not 0 <= place < documents or type(score) not in (float, int):
        raise garbage("holds no proper result")
    return {"index": place, "relevance_score": score}
