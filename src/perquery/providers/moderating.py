"""Moderation as OpenAI speaks it. Free there; it must never decide money."""

from __future__ import annotations

from typing import Any

from perquery.calls import Usage, Work
from perquery.providers.trade import Posted, garbage


class OpenAIModerations(Posted):
    """POST /moderations."""

    path = "/moderations"

    def read(self, answer: dict[str, Any], work: Work) -> tuple[dict[str, Any], Usage]:
        results = answer.get("results")
        if not isinstance(results, list) or not all(isinstance(one, dict) and "flagged" in one for one in results):
            raise garbage("holds no results")
        return answer, Usage({})
