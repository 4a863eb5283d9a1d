"""OpenAI Chat Completions as upstreams speak it: one request out, normalised events in.

It owns the reading of its answers; what a row of the table says is all that differs between hosts. It must never
decide money.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import orjson

from perquery import money
from perquery.calls import OUTPUT_UNITS, Ask, Event, Reply, Usage
from perquery.dialects.sse import Parser, TooLong
from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError, Response
from perquery.providers import usage as usages
from perquery.providers.conversation import Conversation
from perquery.providers.failures import broke, within
from perquery.providers.hosts import Host
from perquery.providers.keys import Keys
from perquery.providers.replies import DEPTH_MAX, Answering, Whole, garbage, too_deep

FAREWELL_S: Final = 0.25
_THOUGHTS: Final = frozenset({"reasoning", "reasoning_content", "reasoning_details"})
_TEXTS: Final = frozenset({"content", "reasoning", "reasoning_content"})


class OpenAIChat(Conversation):
    """A host that speaks Chat Completions."""

    dialect = "openai-chat"

    def __init__(self, host: Host, keys: Keys, client: Client) -> None:
        super().__init__(host, keys, client)
        self._where = host.base_url.rstrip("/") + "/chat/completions"

    def url(self, ask: Ask) -> str:
        return self._where

    def headers(self, key: str, ask: Ask) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if ask.stream else "application/json",
        }
        if key:
            headers["authorization"] = f"Bearer {key}"
        return headers

    def _reply(self, response: Response, ask: Ask) -> Reply:
        kind = response.header(b"content-type").lower()
        # Small servers name no type, or the wrong one, for their streams.
        stream = kind.startswith("text/event-stream") or (
            ask.stream and kind.partition(";")[0].strip() in ("", "text/plain", "application/octet-stream")
        )
        return _Stream(response, self._host) if stream else Whole(response, self._whole)

    def _whole(self, data: bytes) -> Event:
        return event(data, self._host, whole=True)


class _Stream(Answering):
    """Server-sent events, in the batches that the network brought."""

    def __init__(self, response: Response, host: Host) -> None:
        super().__init__(response)
        self._host = host
        self._finished = False
        self._done = False

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        parser = Parser()
        try:
            async for piece in self._response:
                if batch := self._events(parser.feed(piece)):
                    yield batch
                    if batch[-1].error is not None:
                        return
                if self._done:
                    await self._farewell()
                    return
            if (batch := self._events(parser.end())) and batch[-1].error is None:
                yield batch
        except OutboundError as error:
            if not self._finished:
                raise broke(error) from error
        except TooLong as error:
            raise UpstreamError("garbage", str(error)) from error
        if not self._finished:
            raise UpstreamError("down", "the stream broke off")

    def _events(self, payloads: list[bytes]) -> list[Event]:
        """The events of one batch, up to the end of the stream or the first error."""
        batch: list[Event] = []
        for data in payloads:
            if len(data) < 16 and data.strip() in (b"", b"[DONE]"):
                if data.strip():
                    self._finished = self._done = True
                    break
                continue  # some hosts keep the connection alive so
            batch.append(one := event(data, self._host))
            if one.error is not None:
                break
            if one.finish is not None:
                self._finished = True
        return batch

    async def _farewell(self) -> None:
        """Read the end of the body, so that the connection can serve again; some hosts leave it open for long."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                async for _ in self._response:
                    pass
        except (TimeoutError, OutboundError):
            self._response.abort()


def event(data: bytes, host: Host, *, whole: bool = False) -> Event:
    """One payload, looked into: how much output it delivers, its usage, its finish reason, its error."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return garbage(data, "is not JSON")
    if not isinstance(parsed, dict):
        return garbage(data, "is not an object")
    part = "message" if whole else "delta"
    choices: Any = parsed.get("choices")
    text_bytes = _text_alone(parsed, choices, part)
    if len(data) - (text_bytes or 0) > 2 * DEPTH_MAX and too_deep(data, parsed):  # text nests nothing
        return garbage(data, "is nested too deep")
    if text_bytes is not None and not whole and parsed.get("usage") is None:
        only = choices[0]
        if only.get("finish_reason") is None and "usage" not in only:  # nearly every chunk
            return Event(data.replace(b"\n", b" "), text_bytes, parsed)
    if text_bytes is None or parsed.get("object") == "error" or choices[0].get("finish_reason") == "error":
        if (failure := _failure(parsed, choices)) is not None:
            return Event(data, parsed=parsed, error=within(failure))
        if choices is None and not whole:
            choices = ()
        if not _well_formed(choices, part):
            return garbage(data, "has no proper choices")
        text_bytes = sum([delivered(choice.get(part)) for choice in choices])
    finish, figures = None, usages.found(parsed)
    for choice in choices:
        finish = choice.get("finish_reason") or finish
    finish = finish if isinstance(finish, str) else None
    usage = None
    if figures is not None:
        usage = _usage(data, figures, host)
        if usage is None or (choices and finish is None and not whole and not usage.total(OUTPUT_UNITS)):
            # No figures, or (Perplexity) a skeleton of zeros on the way: an answer that is cut off there is
            # estimated. It must not reach the caller either, whose usage is ours.
            usage, parsed = None, {name: value for name, value in parsed.items() if name != "usage"}
            data = orjson.dumps(parsed)
    # A frame is one line; line ends stand between tokens, for strings cannot hold one.
    return Event(data.replace(b"\n", b" "), text_bytes, parsed, usage, finish, None, whole)


def _text_alone(parsed: Mapping[str, Any], choices: Any, part: str) -> int | None:
    """UTF-8 bytes of output where all that is said is one choice's text, as it mostly is; None for all else."""
    if type(choices) is not list or len(choices) != 1 or "error" in parsed or "x_groq" in parsed:
        return None
    choice = choices[0]
    if type(choice) is not dict or "error" in choice:
        return None
    message = choice.get(part)
    if choice.get("index") or type(message) is not dict:
        return None
    text_bytes, thought = 0, False
    for name, value in message.items():
        if type(value) is not str:
            if value is None or value == []:
                continue
            return None
        if name == "role":
            continue
        if name not in _TEXTS:
            return None
        if name != "content":
            if thought:  # under two names, to be counted once
                return None
            thought = True
        text_bytes += len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    return text_bytes


def _failure(parsed: Mapping[str, Any], choices: Any) -> Any:
    """The error that stands in the place of an answer or within it; None where there is none."""
    if error := parsed.get("error"):
        return parsed if isinstance(error, str) else error
    if parsed.get("object") == "error" or (choices is None and parsed.get("type") == "error"):
        return parsed  # Mistral, older vLLM
    groq = parsed.get("x_groq")
    if isinstance(groq, dict) and groq.get("error"):
        return groq["error"]
    if isinstance(choices, list):
        for choice in choices:
            # OpenRouter: the provider behind it failed within the answer.
            if isinstance(choice, dict) and (choice.get("error") or choice.get("finish_reason") == "error"):
                return choice.get("error") or "the answer ended with an error"
    return None


def _well_formed(choices: Any, part: str) -> bool:
    """Whether these are choices as the protocol has them, so that nobody behind this has to ask again."""
    if not isinstance(choices, (list, tuple)):
        return False
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("index") or 0, int):
            return False
        message = choice.get(part)
        if message is not None and not (isinstance(message, dict) and _calls_well_formed(message)):
            return False
    return True


def _calls_well_formed(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    if not (content is None or isinstance(content, (str, list))):
        return False
    calls = message.get("tool_calls")
    if not calls:
        return True
    if not isinstance(calls, list):
        return False
    for call in calls:
        if not isinstance(call, dict):
            return False
        function = call.get("function") or {}
        if not isinstance(function, dict) or not isinstance(function.get("arguments") or "", str):
            return False
    return True


def _usage(data: bytes, figures: dict[str, Any], host: Host) -> Usage | None:
    """The buckets. Where the host reports a cost with a fraction, the amount is read again as it was written."""
    if host.usage != "openai" and (
        isinstance(usages.cost_of(host.usage, figures), float) or figures.get("is_byok") is True
    ):
        try:
            figures = usages.found(money.from_json(data)) or figures
        except ValueError:  # a number of thousands of digits, say: then without the reported cost
            pass
    return usages.read(host.usage, figures)


def delivered(message: Any) -> int:
    """UTF-8 bytes of output in a delta or message: text, reasoning, refusal, spoken words, tool calls."""
    if not isinstance(message, dict):
        return 0
    total = thought = 0
    for name, value in message.items():
        if not value or name == "role":
            continue
        if name == "content" or name == "refusal":
            total += _bytes(value)
        elif name in _THOUGHTS:
            thought = max(thought, _bytes(value))  # some hosts send the same under two or three names
        elif name == "tool_calls" and isinstance(value, list):
            for call in value:
                total += _call_bytes(call.get("function")) if isinstance(call, dict) else 0
        elif name == "function_call":
            total += _call_bytes(value)
        elif name == "audio" and isinstance(value, dict):
            total += _bytes(value.get("transcript"))
    return total + thought


def _call_bytes(function: Any) -> int:
    if not isinstance(function, dict):
        return 0
    return _bytes(function.get("name")) + _bytes(function.get("arguments"))


def _bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    return sum([_part_bytes(part) for part in value]) if isinstance(value, list) else 0


def _part_bytes(part: Any) -> int:
    """A content part's text; Mistral's thinking parts hold parts of their own."""
    return _bytes(part.get("text")) + _bytes(part.get("thinking")) if isinstance(part, dict) else 0
