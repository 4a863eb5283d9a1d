"""Custom tools, whose input is a text of any form, for upstreams that know functions alone: each becomes a function
with one string, and its calls come back as calls of a custom tool. Pure.

It must never change a call of another tool, nor hold back what can be told already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from perquery.calls import Event

_INPUT: Final = "input"
_NONE: Final = frozenset[str]()
_OPENING: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_BARE_OPENING: Final = '{"input":"'
_SPACE: Final = re.compile(r"\s")
# What stands for whole characters: a pair of surrogates is one, and half of a pair may still become one.
_TEXT: Final = re.compile(
    r"""(?: [^"\\]
          | \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
          | \\u(?![dD][89abAB])[0-9a-fA-F]{4}
          | \\[^u]
        )*""",
    re.VERBOSE | re.DOTALL,
)


def names_in(body: Mapping[str, Any]) -> frozenset[str]:
    """The names of the custom tools of a body in chat form."""
    if not body.get("tools"):
        return _NONE
    tools = [tool.get("custom") for tool in body["tools"] if isinstance(tool, dict)]
    return frozenset(name for tool in tools if isinstance(tool, dict) and isinstance(name := tool.get("name"), str))


def as_functions(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with functions in place of custom tools, in its tools, its choice and what was called before."""
    made = {**body, "messages": [_message(message) for message in body.get("messages") or ()]}
    if body.get("tools"):
        made["tools"] = [_tool(tool) for tool in body["tools"]]
    if isinstance(body.get("tool_choice"), dict):
        made["tool_choice"] = _choice(body["tool_choice"])
    return made


def _tool(tool: Any) -> Any:
    own = tool.get("custom") if isinstance(tool, dict) else None
    if not isinstance(own, dict):
        return tool
    words = [own.get("description"), *_grammar(own.get("format"))]
    schema = {"type": "object", "properties": {_INPUT: {"type": "string"}}, "required": [_INPUT]}
    function = {
        "name": own.get("name"),
        "description": "\n\n".join(word for word in words if isinstance(word, str) and word),
        "parameters": schema | {"additionalProperties": False},
    }
    return (
        {name: value for name, value in tool.items() if name != "custom"}
        | {"type": "function"}
        | {"function": function}
    )


def _grammar(format: Any) -> Iterator[str]:
    """A grammar in words: nobody but OpenAI holds an answer to one."""
    grammar = format.get("grammar") if isinstance(format, dict) else None
    if isinstance(grammar, dict) and isinstance(grammar.get("definition"), str):
        yield f"`{_INPUT}` must match this grammar ({grammar.get('syntax')}):\n{grammar['definition']}"


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    allowed = choice.get("allowed_tools")
    if isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
        tools = [_choice(one) if isinstance(one, dict) else one for one in allowed["tools"]]
        return choice | {"allowed_tools": allowed | {"tools": tools}}
    own = choice.get("custom")
    return {"type": "function", "function": {"name": own.get("name")}} if isinstance(own, dict) else choice


def _message(message: Any) -> Any:
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(calls, list) or not any(isinstance(call, dict) and "custom" in call for call in calls):
        return message
    return {**message, "tool_calls": [_call(call) for call in calls]}


def _call(call: Any) -> Any:
    own = call.get("custom") if isinstance(call, dict) else None
    if not isinstance(own, dict):
        return call
    arguments = orjson.dumps({_INPUT: own.get("input") or ""}).decode()
    function = {"name": own.get("name"), "arguments": arguments}
    return (
        {name: value for name, value in call.items() if name != "custom"}
        | {"type": "function"}
        | {"function": function}
    )


class Restored:
    """The calls of one answer, those of custom tools as what they were asked for. names: of the custom tools."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._inputs: dict[tuple[int, int], _Input] = {}  # by choice and call

    def event(self, event: Event) -> Event:
        """The event of an answer in chat form; itself where nothing in it is of a custom tool."""
        found = event.parsed if event.parsed is not None else _calling(event.data)
        choices = found.get("choices")
        if not isinstance(choices, list):
            return event
        made = [self._choice(choice) for choice in choices]
        if all(new is old for new, old in zip(made, choices, strict=True)):
            return event
        found = {**found, "choices": made}
        return replace(event, parsed=found, data=orjson.dumps(found))

    def _choice(self, choice: Any) -> Any:
        part = "message" if isinstance(choice, dict) and "message" in choice else "delta"
        holder = choice.get(part) if isinstance(choice, dict) else None
        calls = holder.get("tool_calls") if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or not isinstance(calls, list):
            return choice
        number = choice.get("index") or 0
        made = [self._restored(number, place, call) for place, call in enumerate(calls)]
        if all(new is old for new, old in zip(made, calls, strict=True)):
            return choice
        return {**choice, part: {**holder, "tool_calls": made}}

    def _restored(self, choice: int, place: int, call: Any) -> Any:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return call
        key = (choice, call.get("index", place))
        if function.get("name") in self._names:
            self._inputs[key] = _Input()
        if (input := self._inputs.get(key)) is None:
            return call
        named = {"name": function["name"]} if function.get("name") else {}
        own = named | {"input": input.feed(str(function.get("arguments") or ""))}
        kind = {"type": "custom"} if "type" in call else {}
        return {name: value for name, value in call.items() if name != "function"} | kind | {"custom": own}


def _calling(data: bytes) -> dict[str, Any]:
    """A chunk that nobody has looked into, if it may hold calls."""
    try:
        found = orjson.loads(data) if b'"tool_calls"' in data else None
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


class _Input:
    """A call's arguments as they come → the text in them. What is of another shape is handed on as it is."""

    def __init__(self) -> None:
        self._rest = ""
        self._within: bool | None = None  # the string; None: not known yet

    def feed(self, more: str) -> str:
        self._rest += more
        if self._within is None and not self._opened():
            return ""
        if not self._within:
            text, self._rest = self._rest, ""
            return text
        end = _TEXT.match(self._rest)
        assert end is not None
        text, self._rest = _plain(self._rest[: end.end()]), self._rest[end.end() :]
        return text

    def _opened(self) -> bool:
        """Whether it is known by now what comes."""
        if opening := _OPENING.match(self._rest):
            self._rest, self._within = self._rest[opening.end() :], True
        elif not _BARE_OPENING.startswith(_SPACE.sub("", self._rest)):
            self._within = False
        return self._within is not None


_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def _plain(text: str) -> str:
    """What a JSON string says."""
    made = _ESCAPE.sub(lambda one: chr(int(one[1], 16)) if one[1] else _ESCAPED.get(one[2], one[2]), text)
    return made.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
