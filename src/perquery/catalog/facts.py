"""What is known of a model beside its price: the overlay's families and single entries laid over each other.

Pure; it must never contradict the overlay, and says the careful thing where nothing is known: text only, no tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from perquery.calls import Kind
from perquery.catalog.overlay import Fact, Overlay

# OpenRouter's vocabulary of request parameters.
SAMPLING = ("temperature", "top_p", "stop", "frequency_penalty", "presence_penalty", "seed")
ALWAYS = ("max_tokens", "response_format")
TOOLS = ("tools", "tool_choice", "structured_outputs")
REASONING = ("reasoning", "include_reasoning", "reasoning_effort")
# (what goes in, what comes out) of a kind, where nothing else is known.
MODALITIES: Final[Mapping[Kind, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "chat": (("text",), ("text",)),
    "embedding": (("text",), ("embeddings",)),
    "rerank": (("text",), ("rerank",)),
    "moderation": (("text", "image"), ("moderation",)),
    "stt": (("audio",), ("transcription",)),
    "tts": (("text",), ("speech",)),
    "image": (("text",), ("image",)),
    "video": (("text",), ("video",)),
}
# Where nothing is known of a model's longest answer; the worst case of a call is held by it.
OUTPUT_TOKENS_MAX = 32_768
# Where nothing is known of the context: what is usual. Too large costs nobody anything, for the upstream refuses what
# is too long before it bills; too small would shorten answers for no reason.
CONTEXT_TOKENS = 131_072


@dataclass(slots=True)
class Facts:
    """The facts of one model, complete. `hides_at`: at which upstreams output is hidden; empty means at all."""

    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    refused_parameters: tuple[str, ...] = ()
    reasoning: bool = False
    tools: bool = False
    hides_output: bool = False
    hides_at: tuple[str, ...] = ()
    bills_reported_cost_at: tuple[str, ...] = ()
    single: Fact | None = None
    kind: Kind = "chat"

    def hides(self, provider: str) -> bool:
        return self.hides_output and (not self.hides_at or provider in self.hides_at)

    @property
    def supported_parameters(self) -> tuple[str, ...]:
        if self.kind != "chat":
            return (self.single.supported_parameters if self.single is not None else None) or ()
        offered = (*ALWAYS, *SAMPLING, *(TOOLS if self.tools else ()), *(REASONING if self.reasoning else ()))
        return tuple(each for each in offered if each not in self.refused_parameters or each == "max_tokens")


def facts_of(id: str, overlay: Overlay, kind: Kind = "chat") -> Facts:
    """The facts of the model with that id: every family that matches, in the file's order, then its own entry."""
    facts = Facts(*MODALITIES[kind], kind=kind)
    for pattern, family in overlay.families:
        if kind == "chat" and pattern.search(id):
            _lay(facts, {name: getattr(family, name) for name in _FAMILY_FIELDS})
            if family.hides_output is not None:
                facts.hides_at = family.hides_at
    single = overlay.facts.get(id)
    if single is not None:
        _lay(facts, {name: getattr(single, name) for name in _SINGLE_FIELDS})
        facts.single = single
    return facts


_SINGLE_FIELDS = ("input_modalities", "output_modalities", "output_tokens_max", "refused_parameters", "hides_output")
_FAMILY_FIELDS = (*_SINGLE_FIELDS, "context_tokens", "reasoning", "tools", "bills_reported_cost_at")


def _lay(facts: Facts, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if value is not None:
            setattr(facts, name, value)


def created_ms(id: str, single: Fact | None, as_of: date) -> int:
    """Milliseconds since 1970 of the model's release where the overlay knows it, else of the table's date."""
    day = single.created if single is not None and single.created is not None else as_of
    return (day - date(1970, 1, 1)).days * 86_400_000
