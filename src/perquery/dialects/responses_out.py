"""OpenAI Responses at the caller's side: an answer as events of Responses, its end, and whole responses. Pure.

What comes as Responses already is relayed as it is, but for its last event, which carries usage. It must never have
two items open at once but tool calls, which upstreams may interleave.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from perquery import money
from perquery.calls import Call, Event, Figures
from perquery.dialects.responses_in import SEPARATOR
from perquery.dialects.thoughts import RESPONSES, packed
from perquery.errors import PerQueryError

_LAST: Final = ("response.completed", "response.incomplete", "response.failed")
_WHY: Final[Mapping[str, str]] = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "frequency_penalty": 0.0,
    "max_tool_calls": None,
    "presence_penalty": 0.0,
    "safety_identifier": None,
    "service_tier": "default",
    "top_logprobs": 0,
}
_TOOL: Final = {"description": None, "parameters": None, "strict": None}
_INPUTS: Final = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input", "image_input")
_OUTPUTS: Final = ("output", "reasoning", "audio_output", "image_output")


class ResponsesWriter:
    """A `calls.Writer`: one answer to a caller who speaks Responses."""

    def __init__(self, call: Call, id: str) -> None:
        self._call = call
        self._hex = id.removeprefix("gen-")
        self._names = dict(_namespaced((call.native or {}).get("tools")))
        self._native = False
        self._last: dict[str, Any] = {}  # an upstream's own last event, held back
        self._number = 0  # of the next event
        self._items: list[dict[str, Any]] = []  # the output, as far as it is there
        self._open: dict[str, Any] | None = None  # the item that text goes to: a message or a thought
        self._calls: dict[int, dict[str, Any]] = {}  # open tool calls by the upstream's number
        self._details: list[dict[str, Any]] = []  # thinking that has to come back
        self._reason: str | None = None

    def begin(self, *, native: bool) -> None:
        self._native = native

    def event(self, event: Event) -> bytes:
        parsed = event.parsed if event.parsed is not None else orjson.loads(event.data)
        if not self._native:
            return b"".join(self._translated(parsed))
        kind, data = str(parsed.get("type")), event.data
        if parsed.get("sequence_number") is None:  # llama.cpp
            parsed = parsed | {"sequence_number": self._number}
            data = orjson.dumps(parsed)
        self._number = parsed["sequence_number"] + 1
        if kind in _LAST:
            self._last = parsed
            return b""
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    # -- chunks → events ----------------------------------------------------------------------------------------

    def _say(self, kind: str, **fields: Any) -> bytes:
        payload = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), money.json(payload))

    def _translated(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        yield from self._start()
        for choice in (chunk.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            self._details += [one for one in delta.get("reasoning_details") or () if isinstance(one, dict)]
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            if isinstance(thought, str) and thought:
                yield from self._thought(thought)
            for name, part in (("content", "output_text"), ("refusal", "refusal")):
                if isinstance(delta.get(name), str) and delta[name]:
                    yield from self._text(delta[name], part, _logprobs(choice))
            for annotation in delta.get("annotations") or ():
                yield from self._annotated(annotation)
            for call in delta.get("tool_calls") or ():
                yield from self._called(call)
            self._reason = choice.get("finish_reason") or self._reason

    def _start(self) -> Iterator[bytes]:
        if self._number == 0:
            response = self._response("in_progress")
            yield self._say("response.created", response=response)
            yield self._say("response.in_progress", response=response)

    def _add(self, item: dict[str, Any]) -> bytes:
        self._items.append(item)
        return self._say("response.output_item.added", output_index=len(self._items) - 1, item=dict(item))

    def _at(self, item: Mapping[str, Any]) -> dict[str, Any]:
        place = next(place for place, one in enumerate(self._items) if one is item)
        return {"item_id": item["id"], "output_index": place}

    def _thought(self, text: str) -> Iterator[bytes]:
        if self._open is None or self._open["type"] != "reasoning":
            yield from self._close()
            item: dict[str, Any] = {"id": f"rs_{self._hex}{len(self._items)}", "type": "reasoning", "summary": []}
            yield self._add(item)
            self._open = item
            item["summary"] = [{"type": "summary_text", "text": ""}]
            empty = {"type": "summary_text", "text": ""}
            yield self._say("response.reasoning_summary_part.added", **self._at(item), summary_index=0, part=empty)
        item = self._open
        item["summary"][0]["text"] += text
        yield self._say("response.reasoning_summary_text.delta", **self._at(item), summary_index=0, delta=text)

    def _text(self, text: str, kind: str, logprobs: list[Any]) -> Iterator[bytes]:
        yield from self._message()
        assert self._open is not None
        item = self._open
        field = "text" if kind == "output_text" else "refusal"
        if not item["content"] or item["content"][-1]["type"] != kind:
            if item["content"]:
                yield from self._close_part(item)
            part: dict[str, Any] = {"type": kind, field: ""}
            part |= {"annotations": [], "logprobs": []} if field == "text" else {}
            item["content"].append(part)
            place = {"content_index": len(item["content"]) - 1}
            yield self._say("response.content_part.added", **self._at(item), **place, part=part)
        item["content"][-1][field] += text
        place = {"content_index": len(item["content"]) - 1}
        extra: dict[str, Any] = {"logprobs": logprobs} if field == "text" else {}
        if extra:
            item["content"][-1]["logprobs"] += logprobs
        yield self._say(f"response.{kind}.delta", **self._at(item), **place, delta=text, **extra)

    def _message(self) -> Iterator[bytes]:
        if self._open is not None and self._open["type"] == "message":
            return
        yield from self._close()
        item = _message(f"msg_{self._hex}{len(self._items)}", [], "in_progress")
        yield self._add(item)
        self._open = item

    def _annotated(self, annotation: Any) -> Iterator[bytes]:
        found = _citation(annotation)
        item = self._open
        if found is None or item is None or item["type"] != "message" or not item["content"]:
            return
        part = item["content"][-1]
        if part["type"] == "output_text":
            part["annotations"].append(found)
            place = {"content_index": len(item["content"]) - 1, "annotation_index": len(part["annotations"]) - 1}
            yield self._say("response.output_text.annotation.added", **self._at(item), **place, annotation=found)

    def _called(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        number, custom = call.get("index") or 0, call.get("custom") is not None
        function = call.get("function") or call.get("custom") or {}
        item = self._calls.get(number)
        if item is None:
            yield from self._close()
            yield from self._seal()
            item = self._calls[number] = self._call_item(call.get("id"), str(function.get("name") or ""), custom=custom)
            yield self._add(item)
        more = function.get("arguments") or function.get("input") or ""
        if more:
            field, kind = _call_fields(item)
            item[field] += more
            yield self._say(f"response.{kind}.delta", **self._at(item), delta=more)

    def _call_item(self, id: Any, name: str, *, custom: bool) -> dict[str, Any]:
        """A tool call under the name that the caller gave the tool."""
        call_id = id or f"call_{self._hex}{len(self._items)}"
        namespace, own = self._names.get(name, (None, name))
        place = {"namespace": namespace} if namespace else {}
        if custom:
            item = {"id": f"ctc_{self._hex}{len(self._items)}", "type": "custom_tool_call", "input": ""}
        else:
            item = {"id": f"fc_{self._hex}{len(self._items)}", "type": "function_call", "arguments": ""}
            item["status"] = "in_progress"
        return item | {"call_id": call_id, "name": own} | place

    # -- ends of items ------------------------------------------------------------------------------------------

    def _close_part(self, item: dict[str, Any]) -> Iterator[bytes]:
        part, place = item["content"][-1], {"content_index": len(item["content"]) - 1}
        if part["type"] == "output_text":
            yield self._say(
                "response.output_text.done", **self._at(item), **place, text=part["text"], logprobs=part["logprobs"]
            )
        else:
            yield self._say("response.refusal.done", **self._at(item), **place, refusal=part["refusal"])
        yield self._say("response.content_part.done", **self._at(item), **place, part=part)

    def _close(self) -> Iterator[bytes]:
        """End the open message or thought."""
        item, self._open = self._open, None
        if item is None:
            return
        if item["type"] == "reasoning":
            part = item["summary"][0]
            at = {**self._at(item), "summary_index": 0}
            yield self._say("response.reasoning_summary_text.done", **at, text=part["text"])
            yield self._say("response.reasoning_summary_part.done", **at, part=part)
            item |= self._sealed()
        else:
            if item["content"]:
                yield from self._close_part(item)
            item["status"] = "completed"
        yield self._done(item)

    def _done(self, item: dict[str, Any]) -> bytes:
        return self._say("response.output_item.done", output_index=self._at(item)["output_index"], item=item)

    def _sealed(self) -> dict[str, Any]:
        """What a thought has to bring back, once: the vendor's own seal, or ours around another vendor's."""
        details, self._details = self._details, []
        return sealed(details)

    def _rest(self) -> Iterator[bytes]:
        yield from self._start()
        yield from self._close()
        for item in self._calls.values():
            field, kind = _call_fields(item)
            item |= _ended(item)
            yield self._say(f"response.{kind}.done", **self._at(item), **{field: item[field]})
            yield self._done(item)
        self._calls.clear()
        yield from self._seal()

    def _seal(self) -> Iterator[bytes]:
        """A seal that came after its thought, or without one, as an item: in front of the call that it came with."""
        if found := self._sealed():
            item = {"id": f"rs_{self._hex}{len(self._items)}", "type": "reasoning", "summary": [], **found}
            yield self._add(item)
            yield self._done(item)

    # -- ends ---------------------------------------------------------------------------------------------------

    def tail(self, figures: Figures, *, cut: bool) -> bytes:
        if self._native and self._last:
            response = {**(self._last.get("response") or {}), "usage": usage(figures)}
            return self._say(str(self._last["type"]), response=response)
        out = [] if self._native else list(self._rest())
        why = "max_output_tokens" if cut else _WHY.get(self._reason or "")
        response = self._response("incomplete" if why else "completed", why) | {"usage": usage(figures)}
        kind = "response.incomplete" if why else "response.completed"
        return b"".join((*out, self._say(kind, response=response)))

    def whole(self, answer: dict[str, Any], figures: Figures, *, cut: bool) -> bytes:
        if self._native:
            return money.json(answer | {"usage": usage(figures)})
        choice: dict[str, Any] = next(iter(answer.get("choices") or ()), {})
        self._items = list(self._output(choice.get("message") or {}, _logprobs(choice)))
        why = "max_output_tokens" if cut else _WHY.get(choice.get("finish_reason") or "")
        return money.json(self._response("incomplete" if why else "completed", why) | {"usage": usage(figures)})

    def broken(self, error: PerQueryError) -> bytes:
        out = [] if self._native else list(self._start())
        code = "insufficient_quota" if error.status == 402 else "server_error" if error.status >= 500 else error.code
        failed = self._response("failed") | {"error": {"code": code, "message": error.message}}
        return b"".join((*out, self._say("response.failed", response=failed)))

    def _output(self, message: Mapping[str, Any], logprobs: list[Any]) -> Iterator[dict[str, Any]]:
        thought = message.get("reasoning_content") or message.get("reasoning")
        found = sealed([one for one in message.get("reasoning_details") or () if isinstance(one, dict)])
        if found or (isinstance(thought, str) and thought):
            parts = [{"type": "summary_text", "text": thought}] if thought else []
            yield {"id": f"rs_{self._hex}", "type": "reasoning", "summary": parts, **found}
        content: list[dict[str, Any]] = []
        if message.get("content"):
            notes = [made for one in message.get("annotations") or () if (made := _citation(one))]
            text = {"type": "output_text", "text": message["content"]}
            content.append(text | {"annotations": notes, "logprobs": logprobs})
        if message.get("refusal"):
            content.append({"type": "refusal", "refusal": message["refusal"]})
        if content:
            yield _message(f"msg_{self._hex}", content, "completed")
        for number, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or call.get("custom") or {}
            custom = call.get("custom") is not None
            item = self._call_item(call.get("id"), str(function.get("name") or ""), custom=custom)
            item[_call_fields(item)[0]] = function.get("arguments") or function.get("input") or ""
            yield _ended(item) | {"id": f"{item['id']}{number}"}

    def _response(self, status: str, why: str | None = None) -> dict[str, Any]:
        asked = self._call.native or {}
        echoed = {name: _echo(asked.get(name), default) for name, default in _ECHOED.items()}
        echoed["tools"] = [
            _TOOL | tool if tool.get("type") == "function" else tool for tool in asked.get("tools") or ()
        ]
        return {
            "id": f"resp_{self._hex}",
            "object": "response",
            "created_at": int(self._hex[:12], 16) // 1000,  # the generation's id begins with its time
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": why} if why else None,
            "model": self._call.model,
            "output": list(self._items),
            "store": False,
            "completed_at": int(time.time()) if status == "completed" else None,
            "usage": None,
            **echoed,
        }


def usage(figures: Figures) -> dict[str, Any]:
    """Responses' usage object, whose totals include the cached and the reasoning tokens; the cost beside them."""
    counts = figures.counts
    given = sum(counts.get(unit, 0) for unit in _INPUTS)
    made = sum(counts.get(unit, 0) for unit in _OUTPUTS)
    written = counts.get("cache_write_5m", 0) + counts.get("cache_write_1h", 0)
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": counts.get("cache_read", 0), "cache_write_tokens": written},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": counts.get("reasoning", 0)},
        "total_tokens": given + made,
        **figures.cost,
    }


def sealed(details: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields that carry thinking through a Responses client and back."""
    own = [one for one in details if one.get("format") == RESPONSES]
    for detail in own:
        if detail.get("type") == "reasoning.encrypted":
            found = {"encrypted_content": detail.get("data")}
            return found | ({"id": detail["id"]} if detail.get("id") else {})
    seal = packed(details, RESPONSES)
    return {"encrypted_content": seal} if seal else {}


def _namespaced(tools: Any, prefix: str = "", path: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """Names as upstreams see them → the caller's (namespace, name)."""
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        name = str(tool.get("name") or "")
        if tool.get("type") == "namespace":
            yield from _namespaced(tool.get("tools"), f"{prefix}{name}{SEPARATOR}", name)
        elif path:
            yield prefix + name, (path, name)


def _echo(given: Any, default: Any) -> Any:
    """A field of the request as the response repeats it."""
    if isinstance(default, dict):
        return {**default, **(given or {})}
    return default if given is None else given


def _message(id: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"id": id, "type": "message", "role": "assistant", "status": status, "content": content}


def _ended(call: dict[str, Any]) -> dict[str, Any]:
    """A call that is whole; OpenAI's type of a custom tool's has no status."""
    return call | {"status": "completed"} if "status" in call else call


def _call_fields(item: Mapping[str, Any]) -> tuple[str, str]:
    """The field that holds a call's arguments, and the name of its events."""
    if item["type"] == "custom_tool_call":
        return "input", "custom_tool_call_input"
    return "arguments", "function_call_arguments"


def _logprobs(choice: Mapping[str, Any]) -> list[Any]:
    """Of the words, not of a refusal's: Responses has no place for those."""
    held = choice.get("logprobs")
    found = held.get("content") if isinstance(held, dict) else None
    return found if isinstance(found, list) else []


def _citation(annotation: Any) -> dict[str, Any] | None:
    found = annotation.get("url_citation") if isinstance(annotation, dict) else None
    if not isinstance(found, dict) or not found.get("url"):
        return None
    places = {"start_index": found.get("start_index") or 0, "end_index": found.get("end_index") or 0}
    return {"type": "url_citation", "url": found["url"], "title": found.get("title") or "", **places}
