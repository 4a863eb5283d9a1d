"""A request's body as one host takes it: its names for things, and without what it or the model refuses. Pure.

What is dropped is reported, so that the caller can be told; what states a cap on the output is never dropped,
for the money that is held follows it. The caller's own body is never changed: another host may be asked next.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from perquery.calls import Dialect
from perquery.dialects.chat import CAPS, lowest_cap
from perquery.dialects.efforts import nearest
from perquery.dialects.thoughts import effort_of
from perquery.providers.hosts import ADDITIONS, Host

# Other servers' names for the cap, which would win over ours there: held money must cover what they ask for.
_OTHER_CAPS: Final = frozenset({"max_output_tokens", "max_new_tokens", "n_predict", "num_predict", "max_length"})
# Saying the default is asking for nothing: dropped without a word.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "temperature": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "n": 1,
    "logprobs": False,
    "parallel_tool_calls": True,
}
_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})
# What is refused where nothing is left that it could refer to.
_WITH: Final[Mapping[str, tuple[str, ...]]] = {
    "tools": ("tool_choice", "parallel_tool_calls"),
    "logprobs": ("top_logprobs",),
}


def prepare(
    host: Host, dialect: Dialect, body: Mapping[str, Any], refused: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], list[str]]:
    """The body for the host, and the parameters that were dropped. refused: what the model refuses at any host."""
    ready = dict(body)
    cap_name = "max_completion_tokens" if "max_tokens" in refused else host.cap
    _cap(ready, cap_name)
    dropped = _drop(ready, _untaken(host.refuses, refused))
    if dialect == "openai-chat" and not host.reasoning_object and "reasoning" in ready:
        dropped += _as_effort(ready)
    for name, other in host.renames.items():
        if name in ready:
            ready.setdefault(other, ready.pop(name))
    if host.stream_options is None:
        ready.pop("stream_options", None)
    elif ready.get("stream") and host.stream_options:
        ready["stream_options"] = {**(ready.get("stream_options") or {}), **host.stream_options}
    if host.replays is not None:
        ready["messages"] = [_replayed(message, host) for message in ready.get("messages") or ()]
    if dialect == "openai-chat" and host.takes is not None:
        _bare_all(ready, ADDITIONS - host.takes)
    return ready, sorted(dropped)


@lru_cache
def _untaken(by_host: frozenset[str], by_model: frozenset[str]) -> frozenset[str]:
    return (by_host | by_model | _OTHER_CAPS) - {*CAPS, "model", "messages", "stream"}


def _cap(ready: dict[str, Any], name: str) -> None:
    """One cap under the host's name: the lowest that was stated, for it is what the quote went by."""
    cap = lowest_cap(ready)
    for each in CAPS:
        ready.pop(each, None)
    if cap is not None:
        ready[name] = cap


def _drop(ready: dict[str, Any], refused: frozenset[str]) -> list[str]:
    """Take the refused parameters out; those that asked for something."""
    dropped = []
    for name in refused.intersection(ready):
        value = ready.pop(name)
        if value not in _EMPTY and value != _DEFAULTS.get(name):
            dropped.append(name)
        for other in _WITH.get(name, ()):
            ready.pop(other, None)
    return dropped


def _as_effort(ready: dict[str, Any]) -> list[str]:
    """OpenRouter's `reasoning` object as OpenAI's reasoning_effort; what that cannot say is reported as dropped."""
    asked = ready.pop("reasoning")
    if not isinstance(asked, dict):
        return []
    effort, budget = asked.get("effort"), asked.get("max_tokens")
    if asked.get("enabled") is False:
        effort = effort or "none"
    elif isinstance(budget, int) and budget > 0:
        effort = effort or effort_of(budget)
    if effort is not None:
        ready.setdefault("reasoning_effort", nearest(str(ready.get("model")), str(effort)))
    said_all = asked.keys() <= {"effort", "enabled", "max_tokens"}
    return [] if said_all else ["reasoning"]


def _bare_all(ready: dict[str, Any], additions: frozenset[str]) -> None:
    """Take the additions to chat out of the body. They are hints: nobody is told."""
    for name in additions.intersection(ready):
        del ready[name]
    for name in ("messages", "tools"):
        if isinstance(ready.get(name), list):
            ready[name] = [_bare(one, additions) for one in ready[name]]


def _bare(found: Any, additions: frozenset[str]) -> Any:
    """A message or a tool without them, also in its parts and calls; itself where it has none."""
    if not isinstance(found, dict):
        return found
    for name in ("content", "tool_calls"):
        within = found.get(name)
        if isinstance(within, list) and any(isinstance(one, dict) and one.keys() & additions for one in within):
            found = {**found, name: [_bare(one, additions) for one in within]}
    if not found.keys() & additions:
        return found
    return {name: value for name, value in found.items() if name not in additions}


def _replayed(message: Any, host: Host) -> Any:
    """An assistant's earlier message with its reasoning under the host's name for it, or without."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    thought = message.get("reasoning_content") or message.get("reasoning")
    if not host.replays:
        if "reasoning_content" not in message and "reasoning" not in message:
            return message
        thought = None
    # A space: DeepSeek wants the field on every message while it thinks, and takes an empty one for none.
    thought = thought or (" " if host.needs_replay else None)
    kept = {name: value for name, value in message.items() if name not in ("reasoning_content", "reasoning")}
    return {**kept, host.replays: thought} if host.replays and isinstance(thought, str) else kept
