"""The table of hosts: a row each, quirks included. Data only.

Sources: the vendors' API references and SDKs (openai 3.54, groq 1.7, mistralai 3.7, cerebras 1.91, openrouter
1.3, xai-sdk 1.21, perplexityai 0.46, fireworks-ai 1.2, llama-api-client 0.6, zai-sdk 0.2). cancel_stops_billing
follows OpenRouter's list of providers that stop work and billing when a stream is aborted. `level`: scripted (our
own scripted upstream speaks it), published (goldens from its published shapes), live (proven with `perquery
providers check`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from perquery.calls import Dialect, Kind
from perquery.providers.usage import Flavour


@dataclass(frozen=True, slots=True)
class Host:
    """One host.

    env: the environment variables of its key, the first that is set wins (each also with an S: several keys, by
    commas). cap: how it names the output cap. renames: parameters it calls otherwise. refuses: parameters it answers
    400 to, dropped and reported. stream_options: sent beside include_usage; None: it refuses them and sends usage by
    itself. replays: the name under which it takes an assistant's earlier reasoning back; "": it refuses it; None: as
    the caller sent it. needs_replay: it also refuses messages without. reasoning_object: it takes OpenRouter's
    `reasoning` object; of the others, those that speak chat are told reasoning_effort. takes: what it takes of the
    additions to chat (ADDITIONS), the rest is left out, for several answer 400 to it; None: as the caller sent it.
    closes_after_stream: it closes the connection behind a stream without having said so, and the next request on it
    would be lost. caches: how the names of the models begin that take cache markers in chat form and keep little
    without. safety: its name for the id by which it is told whose request it is; "": it takes none. keeps_nothing: it
    is known to keep nothing of a request; whoever is not known to, is taken to keep it. agents: what stands for a
    model's name where it is asked in Responses. also: what it speaks besides `dialect` at the same address. trades:
    what it does beside chat, each kind in a protocol of `trades`. studio: in which protocol of `studios` it makes
    videos. chats: whether it serves chat at all.
    """

    name: str
    base_url: str
    env: tuple[str, ...] = ()
    cancel_stops_billing: bool = False
    cap: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    usage: Flavour = "openai"
    renames: Mapping[str, str] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset()
    stream_options: Mapping[str, Any] | None = field(default_factory=dict)
    replays: Literal["reasoning", "reasoning_content", ""] | None = None
    needs_replay: bool = False
    reasoning_object: bool = False
    takes: frozenset[str] | None = frozenset()
    caches: tuple[str, ...] = ()
    safety: Literal["safety_identifier", "user", "user_id", ""] = ""
    lists_models: bool = True
    closes_after_stream: bool = False
    keeps_nothing: bool = False
    level: Literal["scripted", "published", "live"] = "published"
    dialect: Dialect = "openai-chat"
    also: tuple[Dialect, ...] = ()
    agents: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trades: Mapping[Kind, str] = field(default_factory=dict)
    studio: str = ""
    chats: bool = True
    customs: bool = False


# What OpenAI and those who follow it do beside chat.
OPENAI: Final[Mapping[Kind, str]] = {
    "image": "openai-images",
    "embedding": "openai-embeddings",
    "stt": "openai-transcriptions",
    "tts": "openai-speech",
    "moderation": "openai-moderations",
}
_EMBEDDINGS: Final[Mapping[Kind, str]] = {"embedding": "openai-embeddings"}
_RETRIEVAL: Final[Mapping[Kind, str]] = {**_EMBEDDINGS, "rerank": "rerank"}
# What a host may do that is not in the table.
ANY: Final[Mapping[Kind, str]] = {**OPENAI, **_RETRIEVAL}
# What the internal form has beside chat's own fields of messages, parts, calls and tools (docs/dialects.md).
ADDITIONS: Final = frozenset({"cache_control", "reasoning_details", "is_error"})
# Samplers of open models and OpenRouter's own words, which stricter hosts answer 400 to.
_OPEN_SAMPLERS: Final = frozenset({"top_k", "top_a", "min_p", "repetition_penalty", "include_reasoning"})
_LOG_PROBABILITIES: Final = frozenset({"logprobs", "top_logprobs", "logit_bias"})
_PENALTIES: Final = frozenset({"frequency_penalty", "presence_penalty"})

HOSTS: Final[Mapping[str, Host]] = {
    host.name: host
    for host in (
        Host(
            "openai",
            "https://api.openai.com/v1",
            ("OPENAI_API_KEY",),
            cancel_stops_billing=True,
            cap="max_completion_tokens",
            refuses=_OPEN_SAMPLERS,
            # On by default there: random padding in every chunk.
            stream_options={"include_obfuscation": False},
            replays="",
            also=("openai-responses",),
            safety="safety_identifier",
            trades=OPENAI,
            customs=True,
        ),
        Host(
            "anthropic",
            "https://api.anthropic.com/v1",
            ("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"),
            cancel_stops_billing=True,
            dialect="anthropic",
            level="scripted",
        ),
        Host(
            "google",
            "https://generativelanguage.googleapis.com/v1beta",
            ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            usage="google",
            dialect="gemini",
            trades={"embedding": "gemini-embeddings", "image": "gemini-images"},
            studio="veo",
        ),
        Host(
            "xai",
            "https://api.x.ai/v1",
            ("XAI_API_KEY",),
            cancel_stops_billing=True,
            usage="xai",
            also=("openai-responses",),
            safety="user",
            trades={"image": "xai-images"},
            studio="xai",
        ),
        Host(
            "fal",
            "https://queue.fal.run",
            ("FAL_KEY", "FAL_API_KEY"),
            level="scripted",
            chats=False,
            trades={"image": "fal-images"},
            studio="fal",
        ),
        Host(
            "mistral",
            "https://api.mistral.ai/v1",
            ("MISTRAL_API_KEY",),
            renames={"seed": "random_seed"},
            refuses=_OPEN_SAMPLERS | _LOG_PROBABILITIES,
            stream_options=None,
            replays="",
            trades={"embedding": "mistral-embeddings"},
        ),
        Host(
            "deepseek",
            "https://api.deepseek.com",
            ("DEEPSEEK_API_KEY",),
            cancel_stops_billing=True,
            replays="reasoning_content",
            needs_replay=True,
        ),
        Host(
            "dashscope",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            ("DASHSCOPE_API_KEY",),
            takes=frozenset({"cache_control"}),
            caches=("qwen",),
            trades=_EMBEDDINGS,
        ),
        Host(
            "dashscope-cn",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            ("DASHSCOPE_CN_API_KEY",),
            takes=frozenset({"cache_control"}),
            caches=("qwen",),
            trades=_EMBEDDINGS,
        ),
        Host(
            "groq",
            "https://api.groq.com/openai/v1",
            ("GROQ_API_KEY",),
            refuses=_OPEN_SAMPLERS - {"include_reasoning"} | _LOG_PROBABILITIES,
            replays="reasoning",
            safety="user",
        ),
        Host(
            "cerebras",
            "https://api.cerebras.ai/v1",
            ("CEREBRAS_API_KEY",),
            cap="max_completion_tokens",
            refuses=_OPEN_SAMPLERS | _PENALTIES | {"logit_bias", "n"},
            replays="reasoning",
            safety="user",
        ),
        Host(
            "together",
            "https://api.together.xyz/v1",
            ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
            cancel_stops_billing=True,
            trades=_RETRIEVAL,
        ),
        Host(
            "fireworks",
            "https://api.fireworks.ai/inference/v1",
            ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
            cancel_stops_billing=True,
            trades=_RETRIEVAL,
            safety="user",
        ),
        Host(
            "perplexity",
            "https://api.perplexity.ai",
            ("PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY", "PPLX_API_KEY"),
            usage="perplexity",
            refuses=frozenset({"tools", "logit_bias", "seed", "stop", "n"}),
            replays="",
            lists_models=False,
            # Its Agent API (dialect = "openai-responses" at https://api.perplexity.ai/v1) has one model and presets.
            agents={
                "sonar": {"model": "perplexity/sonar"},
                "sonar-pro": {"preset": "fast"},
                "sonar-reasoning-pro": {"preset": "low"},
            },
        ),
        Host(
            "openrouter",
            "https://openrouter.ai/api/v1",
            ("OPENROUTER_API_KEY",),
            cancel_stops_billing=False,  # it depends on the provider behind it
            usage="openrouter",
            reasoning_object=True,
            takes=ADDITIONS - {"is_error"},
            caches=("anthropic/",),
            safety="user",
        ),
        Host("moonshot", "https://api.moonshot.ai/v1", ("MOONSHOT_API_KEY", "KIMI_API_KEY")),
        Host("zai", "https://api.z.ai/api/paas/v4", ("ZAI_API_KEY",), safety="user_id"),
        Host("novita", "https://api.novita.ai/openai", ("NOVITA_API_KEY",)),
        Host("huggingface", "https://router.huggingface.co/v1", ("HF_API_KEY", "HUGGINGFACE_API_KEY")),
        Host("nvidia", "https://integrate.api.nvidia.com/v1", ("NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY")),
        Host("github", "https://models.github.ai/inference", ("GITHUB_MODELS_API_KEY",), lists_models=False),
        Host("meta", "https://api.meta.ai/v1", ("META_API_KEY", "LLAMA_API_KEY"), safety="user"),
        Host(
            "ollama-cloud",
            "https://ollama.com/v1",
            ("OLLAMA_API_KEY",),
            refuses=frozenset({"n", "logit_bias"}),
        ),
        # Speech alone.
        Host(
            "deepgram",
            "https://api.deepgram.com/v1",
            ("DEEPGRAM_API_KEY",),
            trades={"stt": "deepgram-listen", "tts": "deepgram-speak"},
            chats=False,
        ),
        Host(
            "elevenlabs",
            "https://api.elevenlabs.io/v1",
            ("ELEVENLABS_API_KEY",),
            trades={"stt": "elevenlabs-listen", "tts": "elevenlabs-speak"},
            chats=False,
        ),
        # Retrieval alone.
        Host(
            "cohere",
            "https://api.cohere.com/v2",
            ("COHERE_API_KEY",),
            trades={"embedding": "cohere-embeddings", "rerank": "cohere-rerank"},
            chats=False,
        ),
        Host(
            "voyage",
            "https://api.voyageai.com/v1",
            ("VOYAGE_API_KEY",),
            trades={"embedding": "voyage-embeddings", "rerank": "voyage-rerank"},
            chats=False,
        ),
        Host("jina", "https://api.jina.ai/v1", ("JINA_API_KEY",), trades=_RETRIEVAL, chats=False),
        # Of the operator's own: active only where the configuration gives a base_url.
        Host("vllm", "", cancel_stops_billing=True, level="scripted", trades=_RETRIEVAL),
        Host(
            "ollama",
            "",
            cancel_stops_billing=True,
            refuses=frozenset({"n", "logit_bias"}),
            level="scripted",
            trades=_EMBEDDINGS,
        ),
        Host(
            "llamacpp",
            "",
            cancel_stops_billing=True,
            closes_after_stream=True,
            level="live",
            trades=_RETRIEVAL,
        ),
        Host("local", "", cancel_stops_billing=True, closes_after_stream=True, keeps_nothing=True, level="live"),
        Host(
            "local-minilm",
            "",
            cancel_stops_billing=True,
            keeps_nothing=True,
            level="live",
            trades=_EMBEDDINGS,
            chats=False,
        ),
        Host(
            "local-whisper",
            "",
            cancel_stops_billing=True,
            keeps_nothing=True,
            level="live",
            trades={"stt": "openai-transcriptions"},
            chats=False,
        ),
        Host(
            "local-espeak",
            "",
            cancel_stops_billing=True,
            keeps_nothing=True,
            level="live",
            trades={"tts": "openai-speech"},
            chats=False,
        ),
    )
}
