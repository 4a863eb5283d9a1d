"""Embeddings as OpenAI and those who follow it speak them. It must never decide money."""

from __future__ import annotations

from typing import Any

from perquery.calls import Usage, Work
from perquery.providers.trade import Posted, count_in, garbage


class OpenAIEmbeddings(Posted):
    """POST /embeddings."""

    path = "/embeddings"

    def read(self, answer: dict[str, Any], work: Work) -> tuple[dict[str, Any], Usage]:
        rows = answer.get("data")
        if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
            raise garbage("holds no embeddings")
        tokens = count_in(answer.get("usage"), "prompt_tokens")
        usage = Usage(work.likely, estimated=True) if tokens is None else Usage({"input": tokens})
        return answer, usage


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("embedding"), list | str) and isinstance(row.get("index"), int)
