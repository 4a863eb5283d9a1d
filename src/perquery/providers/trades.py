"""The trades by name: what a row of `hosts` may say that a host does beside chat. Data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from perquery.providers.deepgram import DeepgramListen, DeepgramSpeak
from perquery.providers.elevenlabs import ElevenLabsListen, ElevenLabsSpeak
from perquery.providers.embedding import (
    CohereEmbeddings,
    GeminiEmbeddings,
    MistralEmbeddings,
    OpenAIEmbeddings,
    VoyageEmbeddings,
)
from perquery.providers.fal_images import FalImages
from perquery.providers.gemini_images import GeminiImages
from perquery.providers.moderating import OpenAIModerations
from perquery.providers.openai_audio import OpenAISpeech, OpenAITranscriptions
from perquery.providers.openai_images import OpenAIImages, XaiImages
from perquery.providers.reranking import CohereRerank, Rerank, VoyageRerank
from perquery.providers.trade import Trade

TRADES: Final[Mapping[str, type[Trade]]] = {
    "fal-images": FalImages,
    "gemini-images": GeminiImages,
    "openai-images": OpenAIImages,
    "xai-images": XaiImages,
    "openai-embeddings": OpenAIEmbeddings,
    "openai-transcriptions": OpenAITranscriptions,
    "openai-speech": OpenAISpeech,
    "deepgram-listen": DeepgramListen,
    "deepgram-speak": DeepgramSpeak,
    "elevenlabs-listen": ElevenLabsListen,
    "elevenlabs-speak": ElevenLabsSpeak,
    "gemini-embeddings": GeminiEmbeddings,
    "mistral-embeddings": MistralEmbeddings,
    "cohere-embeddings": CohereEmbeddings,
    "voyage-embeddings": VoyageEmbeddings,
    "rerank": Rerank,
    "cohere-rerank": CohereRerank,
    "voyage-rerank": VoyageRerank,
    "openai-moderations": OpenAIModerations,
}
