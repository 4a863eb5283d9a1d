"""OpenAI's legacy completions: a prompt in, text out, over any chat model. Pure.

A prompt becomes one user message. What chat cannot do (echo, suffix, several prompts, tokens as numbers) is refused.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from perquery import money
from perquery.calls import Call, Event, Figures
from perquery.dialects import chat
from perquery.dialects.chat_out import DONE, comment, frame, usage_object
from perquery.dialects.fields import object_of, refuse, require
from perquery.errors import PerQueryError, body_in

_REFUSED: Final = {
    "echo": "is not offered: put the prompt before the answer yourself.",
    "suffix": "is not offered: chat models do not fill in the middle.",
}
_ONLY_HERE: Final = frozenset(("prompt", "best_of", "logprobs", *_REFUSED))


def parse(raw: bytes) -> Call:
    """A completions body → Call. Raises BadRequest."""
    body = object_of(raw)
    refuse(body, _REFUSED)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    require(isinstance(prompt, str) and prompt != "", "prompt", "one non-empty string")
    require((body.get("best_of") or 1) == (body.get("n") or 1), "best_of", "the same as `n`, or left out")
    inner = {name: value for name, value in body.items() if name not in _ONLY_HERE}
    inner["messages"] = [{"role": "user", "content": prompt}]
    call = chat.parse(orjson.dumps(inner))
    call.dialect = "openai-completions"
    if body.get("logprobs") is not None:
        call.dropped.append("logprobs")
    return call


class CompletionsWriter:
    """A `calls.Writer`: `text_completion` objects."""

    def __init__(self, call: Call, id: str) -> None:
        self._call = call
        self._id = f"cmpl-{id.removeprefix('gen-')}"

    def begin(self, *, native: bool) -> None:
        """Nothing is native here."""

    def event(self, event: Event) -> bytes:
        parsed = event.parsed or orjson.loads(event.data)
        choices = [_choice(choice, choice.get("delta") or {}) for choice in parsed.get("choices") or ()]
        wanted = [choice for choice in choices if choice["text"] or choice["finish_reason"]]
        return frame(orjson.dumps(self._object(wanted))) if wanted else b""

    def tail(self, figures: Figures, *, cut: bool) -> bytes:
        choices = [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]
        end = frame(orjson.dumps(self._object(choices))) if cut else b""
        if self._call.wants_usage:
            end += frame(money.json(self._object([]) | {"usage": usage_object(figures)}))
        else:
            end += comment(figures.comment)
        return end + DONE

    def whole(self, answer: dict[str, Any], figures: Figures, *, cut: bool) -> bytes:
        choices = [_choice(choice, choice.get("message") or {}) for choice in answer.get("choices") or ()]
        return money.json(self._object(choices) | {"usage": usage_object(figures)})

    def broken(self, error: PerQueryError) -> bytes:
        return frame(money.json(self._object([]) | body_in(error, "openai"))) + DONE

    def _object(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        created_s = int(self._id[5:17], 16) // 1000  # the generation's id begins with its time
        return {
            "id": self._id,
            "object": "text_completion",
            "created": created_s,
            "model": self._call.model,
            "choices": choices,
        }


def _choice(choice: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    reason = choice.get("finish_reason")
    return {
        "index": choice.get("index") or 0,
        "text": said.get("content") or "",
        "logprobs": None,
        "finish_reason": "stop" if reason == "tool_calls" else reason,
    }
