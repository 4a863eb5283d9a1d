"""The trades by name: what a row of `hosts` may say that a host does beside chat. Data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from perquery.providers.openai_embeddings import OpenAIEmbeddings
from perquery.providers.trade import Trade

TRADES: Final[Mapping[str, type[Trade]]] = {
    "openai-embeddings": OpenAIEmbeddings,
}
