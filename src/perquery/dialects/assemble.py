"""A plain chat completion out of a stream's chunks, for callers who did not ask for a stream.

Pure. The gateway streams from the upstream wherever it must be able to stop within the balance; the caller
gets the same object that the upstream would have sent whole: text, reasoning, refusal, tool calls, log
probabilities and annotations of every choice, fields that we do not know included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

_APPENDED: Final = ("content", "reasoning", "reasoning_content", "refusal")
_LISTS: Final = ("annotations", "reasoning_details", "images")
_HEAD: Final = ("id", "created", "model", "system_fingerprint", "service_tier", "provider")


class Assembly:
    """Feed it every parsed chunk in order; `completion()` is the object so far."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        for name in _HEAD:
            if chunk.get(name) is not None and name not in self._head:
                self._head[name] = chunk[name]
        for part in chunk.get("choices") or ():
            if isinstance(part, dict):
                self._add_choice(part)

    def _add_choice(self, part: Mapping[str, Any]) -> None:
        index = part.get("index") or 0
        choice = self._choices.setdefault(
            index, {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
        )
        if part.get("finish_reason") is not None:
            choice["finish_reason"] = part["finish_reason"]
        if isinstance(part.get("logprobs"), dict):
            _extend_logprobs(choice.setdefault("logprobs", {}), part["logprobs"])
        if isinstance(part.get("delta"), dict):
            _add_delta(choice["message"], part["delta"])

    def completion(self) -> dict[str, Any]:
        """The chat.completion object; a choice that the stream never finished says so by a null reason."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            for name in ("tool_calls", "annotations", "reasoning_details"):
                entries = choice["message"].get(name)
                for one in filter(_is_object, entries if isinstance(entries, list) else ()):
                    one.pop("index", None)  # a plain answer's are numbered by their place
        head = {"id": "", "object": "chat.completion", "created": 0, "model": ""} | self._head
        return head | {"object": "chat.completion", "choices": choices}

    def finish(self, reason: str) -> None:
        """Give every choice that is still open this finish reason."""
        if not self._choices:
            self._add_choice({"index": 0, "delta": {"content": ""}})
        for choice in self._choices.values():
            choice["finish_reason"] = choice["finish_reason"] or reason


def _add_delta(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        if value is None:
            continue
        before = message.get(name)
        if name in _APPENDED and isinstance(value, str) and isinstance(before, str | None):
            message[name] = (before or "") + value
        elif name == "tool_calls" and isinstance(value, list):
            _add_tool_calls(message.setdefault("tool_calls", []), value)
        elif name == "content" and isinstance(value, str | list) and isinstance(before, str | list | None):
            message[name] = _content_parts(_as_parts(before), _as_parts(value))
        elif name in _LISTS and isinstance(value, list) and isinstance(before, list | None):
            message[name] = [*(before or []), *value]
        elif name == "function_call" and isinstance(value, dict) and isinstance(before, dict | None):
            _append(message.setdefault("function_call", {"name": "", "arguments": ""}), value)
        else:
            message[name] = value


def _as_parts(content: str | list[Any] | None) -> list[Any]:
    """Content as a list of parts; Mistral thinks in lists and then speaks in strings."""
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _content_parts(before: list[Any], parts: list[Any]) -> list[Any]:
    """The parts one after another, a text that goes on in one piece with the text before."""
    joined = list(before)
    for part in parts:
        last = joined[-1] if joined else None
        if _is_text(part) and _is_text(last):
            joined[-1] = {**last, "text": last["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _is_object(found: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(found, dict)


def _is_text(part: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _add_tool_calls(calls: list[dict[str, Any]], parts: list[Any]) -> None:
    for part in parts:
        if not isinstance(part, dict):
            continue
        index = part.get("index", len(calls) if part.get("id") else max(len(calls) - 1, 0))
        call = next((call for call in calls if call["index"] == index), None)
        kind, text = ("custom", "input") if isinstance(part.get("custom"), dict) else ("function", "arguments")
        if call is None:
            call = {"index": index, "type": kind, kind: {"name": "", text: ""}}
            calls.append(call)
        call |= {name: value for name, value in part.items() if name not in ("index", kind) and value is not None}
        if isinstance(part.get(kind), dict) and kind in call:
            _append(call[kind], part[kind])


def _append(function: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        before = function.get(name)
        appended = name in ("name", "arguments", "input") and isinstance(value, str) and isinstance(before, str | None)
        function[name] = (before or "") + value if appended else value


def _extend_logprobs(logprobs: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, list) and isinstance(logprobs.get(name), list | None):
            logprobs[name] = [*(logprobs.get(name) or []), *value]
        else:
            logprobs.setdefault(name, value)
