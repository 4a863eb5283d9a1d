"""The table of OpenAI-compatible hosts: a row each, quirks included. Data only.

Sources: the vendors' API references and SDKs (openai 3.54, groq 1.7, mistralai 3.7, cerebras 1.91, openrouter
1.3, xai-sdk 1.21, perplexityai 0.46). cancel_stops_billing follows OpenRouter's list of providers that stop
work and billing when a stream is aborted. `level`: scripted (our own scripted upstream speaks it), published
(goldens from its published shapes), live (proven with `perquery providers check`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from perquery.providers.usage import Flavour


@dataclass(frozen=True, slots=True)
class Host:
    """One host. env: the environment variable of its key (several: the same name with an S, by commas).

    cap: how it names the output cap. renames: parameters it calls otherwise. refuses: parameters it answers 400
    to, dropped and reported. extra: fields always sent. hides_output: see calls.Route.
    """

    name: str
    base_url: str
    env: str | None = None
    cancel_stops_billing: bool = False
    cap: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    usage: Flavour = "openai"
    reports_cost: bool = False
    renames: Mapping[str, str] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)
    stream_options: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    level: Literal["scripted", "published", "live"] = "published"


_NO_PENALTIES: Final = frozenset({"frequency_penalty", "presence_penalty", "logit_bias"})
_ANTHROPIC_IGNORES: Final = frozenset(
    {"logprobs", "top_logprobs", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "prediction"}
)

HOSTS: Final[Mapping[str, Host]] = {
    host.name: host
    for host in (
        Host(
            "openai",
            "https://api.openai.com/v1",
            "OPENAI_API_KEY",
            cancel_stops_billing=True,
            cap="max_completion_tokens",
            # On by default there: random padding in every chunk.
            stream_options={"include_obfuscation": False},
        ),
        # The vendor's compatibility layer: used until the native dialect serves it. No caching, no thinking text.
        Host(
            "anthropic",
            "https://api.anthropic.com/v1",
            "ANTHROPIC_API_KEY",
            cancel_stops_billing=True,
            refuses=_ANTHROPIC_IGNORES,
        ),
        Host("google", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
        Host("xai", "https://api.x.ai/v1", "XAI_API_KEY", cancel_stops_billing=True, usage="xai", reports_cost=True),
        Host("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", renames={"seed": "random_seed"}),
        Host("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", cancel_stops_billing=True, usage="deepseek"),
        Host("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
        Host("dashscope-cn", "https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_CN_API_KEY"),
        Host("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", refuses=frozenset({"logprobs", "logit_bias"})),
        Host("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", refuses=_NO_PENALTIES),
        Host("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", cancel_stops_billing=True),
        Host("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", cancel_stops_billing=True),
        Host(
            "perplexity",
            "https://api.perplexity.ai",
            "PERPLEXITY_API_KEY",
            usage="perplexity",
            reports_cost=True,
            refuses=frozenset({"tools", "tool_choice"}),
        ),
        Host(
            "openrouter",
            "https://openrouter.ai/api/v1",
            "OPENROUTER_API_KEY",
            cancel_stops_billing=False,  # it depends on the provider behind it
            usage="openrouter",
            reports_cost=True,
            extra={"usage": {"include": True}},
        ),
        Host("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
        Host("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
        Host("novita", "https://api.novita.ai/openai", "NOVITA_API_KEY"),
        Host("huggingface", "https://router.huggingface.co/v1", "HF_API_KEY"),
        Host("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
        Host("github", "https://models.github.ai/inference", "GITHUB_MODELS_API_KEY"),
        Host("meta", "https://api.meta.ai/v1", "META_API_KEY"),
        Host("ollama-cloud", "https://ollama.com/v1", "OLLAMA_API_KEY"),
        # Of the operator's own: active only where the configuration gives a base_url.
        Host("vllm", "", cancel_stops_billing=True),
        Host("ollama", "", cancel_stops_billing=True, refuses=frozenset({"n", "logit_bias", "user"})),
        Host("llamacpp", "", cancel_stops_billing=True, level="live"),
        Host("local", "", cancel_stops_billing=True, level="live"),
    )
}
