"""Gemini's answers as chat form. Pure.

It must never sum usage: every payload of a stream has the figures so far. Nor does it ever lose a thought signature:
without them the newer models refuse the next turn.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from perquery.calls import OUTPUT_UNITS, Event, Unit, Usage
from perquery.dialects.gemini_ask import LEVELS, image_id, version
from perquery.dialects.reading import (
    chat_usage,
    count_in,
    delivered,
    head,
    number_entries,
    object_in,
    objects_in,
    split,
    text_in,
)
from perquery.dialects.thoughts import GEMINI
from perquery.errors import UpstreamError

# A reason that is not here nor below is new: what came is taken for an answer.
_FINISHES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("MAX_TOKENS", "CONTINUATION"), "length"),
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), "content_filter"),
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"), "content_filter"),
    **dict.fromkeys(("IMAGE_OTHER", "MODEL_ARMOR", "ESCALATION"), "content_filter"),
}
_FAILURES: Final = frozenset(
    (
        *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"),
        *("MALFORMED_RESPONSE", "OTHER"),
    )
)
_SUSPENDED: Final = "PUP_LIMITED_DISABLED"  # the operator's account
_NOWHERE: Final = {"start_index": 0, "end_index": 0}  # of a source that nothing said rests on
_UNBLOCKED: Final = ("", "BLOCKED_REASON_UNSPECIFIED")


class Reader:
    """One answer, stream or plain; candidates are choices."""

    def __init__(self) -> None:
        self._head = head()
        self._candidates: dict[int, _Candidate] = {}
        self._blocked = False
        self._searches = 0

    @property
    def finished(self) -> bool:
        """Whether every candidate has said why it ended."""
        known = self._candidates.values()
        return self._blocked or (bool(known) and all(candidate.finished for candidate in known))

    def feed(self, payload: Mapping[str, Any], data: bytes) -> list[Event]:
        """A stream's payload as a chunk; an `error` in its place is the caller's of this to look at first."""
        return [self._event(payload, data, "delta")]

    def whole(self, payload: Mapping[str, Any], data: bytes) -> Event:
        """A plain answer."""
        if not (objects_in(payload, "candidates") or _blocked(payload)):
            return Event(data, error=UpstreamError("garbage", "the upstream's answer has no candidates"))
        return self._event(payload, data, "message")

    def _event(self, payload: Mapping[str, Any], data: bytes, part: str) -> Event:
        for candidate in objects_in(payload, "candidates"):
            if error := _failure(candidate):
                return Event(data, error=error)
        try:
            return self._translated(payload, part)
        except orjson.JSONEncodeError:
            return Event(data, error=UpstreamError("garbage", "the upstream's answer is nested too deep"))

    def _translated(self, payload: Mapping[str, Any], part: str) -> Event:
        names = (("id", "responseId"), ("model", "modelVersion"))
        self._head |= {ours: payload[theirs] for ours, theirs in names if isinstance(payload.get(theirs), str)}
        choices = [self._choice(candidate, part) for candidate in objects_in(payload, "candidates")]
        if not choices and (reason := _blocked(payload)):
            self._blocked = True
            said = {"role": "assistant", "content": None, "refusal": f"The prompt was blocked: {reason}."}
            choices = [{"index": 0, part: said, "finish_reason": "content_filter", "logprobs": None}]
        finish = next((choice["finish_reason"] for choice in choices if choice["finish_reason"]), None)
        whole = part == "message"
        kind = "chat.completion" if whole else "chat.completion.chunk"
        made: dict[str, Any] = {**self._head, "object": kind, "choices": choices}
        usage = self._with_searches(usage_of(object_in(payload, "usageMetadata")), payload)
        # Figures on the way, before the first of output, are no figures: an answer that breaks off there is estimated.
        if usage is not None and not (whole or self.finished or usage.total(OUTPUT_UNITS)):
            usage = None
        if usage is not None:
            made["usage"] = chat_usage(usage)
        # The refusal of a blocked prompt is ours, not output.
        size = 0 if self._blocked else sum(delivered(choice[part]) for choice in choices)
        return Event(orjson.dumps(made), size, made, usage, finish, None, whole)

    def _with_searches(self, usage: Usage | None, payload: Mapping[str, Any]) -> Usage | None:
        """With the searches so far: the newer models are billed by the query, the older ones by the prompt."""
        for candidate in objects_in(payload, "candidates"):
            grounding = object_in(candidate, "groundingMetadata")
            queries = grounding.get("webSearchQueries")
            if isinstance(queries, list) and queries:
                newer = version(self._head["model"]) >= LEVELS
                self._searches = max(self._searches, len(queries) if newer else 1)
        if usage is None or not self._searches:
            return usage
        return replace(usage, counts={**usage.counts, "search": self._searches})

    def _choice(self, found: Mapping[str, Any], part: str) -> dict[str, Any]:
        index = count_in(found, "index") or 0
        known = self._candidates.setdefault(index, _Candidate())
        message = known.message(found, full=part == "message")
        reason, finish = found.get("finishReason"), None
        if isinstance(reason, str) and reason not in ("", "FINISH_REASON_UNSPECIFIED"):
            # Gemini says STOP of calls too.
            finish = _FINISHES.get(reason) or ("tool_calls" if known.calls else "stop")
            known.finished = True
        chosen = _logprobs(object_in(found, "logprobsResult"))
        held = {"content": chosen, "refusal": None} if chosen else None
        return {"index": index, part: message, "finish_reason": finish, "logprobs": held}


class _Candidate:
    """What has come of one candidate so far. calls: how many tool calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.finished = False
        self._images = 0
        self._text: list[str] = []
        self._begun = False
        self._counts: dict[str, int] = {}  # of the entries of lists

    def message(self, found: Mapping[str, Any], *, full: bool) -> dict[str, Any]:
        """A payload's parts as a delta, or as a whole message."""
        made: dict[str, Any] = {}
        if full or not self._begun:
            made["role"] = "assistant"
        if full:
            made |= {"content": None, "refusal": None, "annotations": []}
        self._begun = True
        for part in objects_in(object_in(found, "content"), "parts"):
            self._add(made, part, full)
        if annotations := _annotations(object_in(found, "groundingMetadata"), self._text):
            made["annotations"] = annotations
        if not full:
            number_entries(made, self._counts)
        return made

    def _add(self, made: dict[str, Any], part: Mapping[str, Any], full: bool) -> None:
        """One part. Its signature, if any, is kept with the id of what it belongs to."""
        text, call, data = text_in(part, "text"), part.get("functionCall"), object_in(part, "inlineData")
        kind, id = text_in(data, "mimeType") or "", None
        if isinstance(call, dict):
            id = text_in(call, "id") or f"call_{uuid.uuid4().hex}"
            given = orjson.dumps(object_in(call, "args")).decode()
            function = {"name": text_in(call, "name") or "", "arguments": given}
            numbered = {} if full else {"index": self.calls}
            made.setdefault("tool_calls", []).append({**numbered, "id": id, "type": "function", "function": function})
            self.calls += 1
        elif kind.startswith("image/"):
            id = image_id(self._images)
            image = {"url": f"data:{kind};base64,{text_in(data, 'data') or ''}"}
            made.setdefault("images", []).append({"type": "image_url", "image_url": image, "index": self._images})
            self._images += 1
        elif kind.startswith("audio/"):
            made["audio"] = {"id": f"audio_{uuid.uuid4().hex}", "data": text_in(data, "data") or "", "transcript": ""}
        elif text:
            name = "reasoning_content" if part.get("thought") is True else "content"
            made[name] = (made.get(name) or "") + text
            if name == "content":
                self._text.append(text)
        if signature := text_in(part, "thoughtSignature"):
            detail = {"type": "reasoning.encrypted", "data": signature, "format": GEMINI}
            made.setdefault("reasoning_details", []).append(detail | ({"id": id} if id else {}))


def _blocked(payload: Mapping[str, Any]) -> str | None:
    """Why the prompt was not answered at all."""
    reason = object_in(payload, "promptFeedback").get("blockReason")
    return reason if isinstance(reason, str) and reason not in _UNBLOCKED else None


def _failure(candidate: Mapping[str, Any]) -> UpstreamError | None:
    """A reason that leaves no answer to be sold."""
    reason = candidate.get("finishReason")
    if reason == _SUSPENDED:
        return UpstreamError("auth", "the upstream account is limited or disabled", code=_SUSPENDED)
    if isinstance(reason, str) and reason in _FAILURES:
        return UpstreamError("garbage", f"the upstream's answer ended with {reason}", code=reason)
    return None


def _annotations(grounding: Mapping[str, Any], text: list[str]) -> list[dict[str, Any]]:
    """Its sources, with the places in the text that rest on them. Gemini counts these in bytes."""
    sources = [object_in(chunk, "web") for chunk in objects_in(grounding, "groundingChunks")]
    supports = objects_in(grounding, "groundingSupports")
    if not supports:
        return [found for source in sources if (found := _annotation(source, _NOWHERE))]
    data = "".join(text).encode("utf-8", "replace")
    made = []
    for support in supports:
        segment = object_in(support, "segment")
        start, end = (
            len(data[: count_in(segment, name) or 0].decode("utf-8", "ignore")) for name in ("startIndex", "endIndex")
        )
        place = {"start_index": start, "end_index": end, "content": text_in(segment, "text")}
        numbers = support.get("groundingChunkIndices")
        for number in numbers if isinstance(numbers, list) else ():
            known = type(number) is int and 0 <= number < len(sources)
            if known and (found := _annotation(sources[number], place)):
                made.append(found)
    return made


def _annotation(source: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any] | None:
    if not (url := text_in(source, "uri")):
        return None
    return {"type": "url_citation", "url_citation": {"url": url, "title": text_in(source, "title"), **place}}


def _logprobs(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    tops = objects_in(result, "topCandidates")
    made = []
    for number, chosen in enumerate(objects_in(result, "chosenCandidates")):
        others = objects_in(tops[number], "candidates") if number < len(tops) else []
        made.append(_logprob(chosen) | {"top_logprobs": [_logprob(other) for other in others]})
    return made


def _logprob(found: Mapping[str, Any]) -> dict[str, Any]:
    token, value = text_in(found, "token") or "", found.get("logProbability")
    return {
        "token": token,
        "logprob": value if isinstance(value, int | float) else None,
        "bytes": list(token.encode("utf-8", "replace")),
    }


# -- usage ------------------------------------------------------------------------------------------------------


def usage_of(found: Mapping[str, Any]) -> Usage | None:
    """Gemini's figures as buckets.

    Its prompt has the cached tokens in it, and not those of tools that ran there; its candidates have no thoughts.
    """
    prompt, tools = count_in(found, "promptTokenCount"), count_in(found, "toolUsePromptTokenCount") or 0
    made, thoughts = count_in(found, "candidatesTokenCount"), count_in(found, "thoughtsTokenCount") or 0
    total = count_in(found, "totalTokenCount")
    if made is None and total is not None and prompt is not None:
        made = max(0, total - prompt - tools - thoughts)
    if prompt is None or made is None:
        return None
    given, cached = _modalities(found, "promptTokensDetails"), _modalities(found, "cacheTokensDetails")
    out = _modalities(found, "candidatesTokensDetails")
    counts: dict[Unit, int] = {}
    hit = min(count_in(found, "cachedContentTokenCount") or 0, prompt)
    fresh = split(counts, prompt - hit, [
        ("audio_input", given["AUDIO"] - cached["AUDIO"]),
        ("image_input", given["IMAGE"] - cached["IMAGE"]),
    ])  # fmt: skip
    counts["cache_read"] = split(counts, hit, [("audio_cache_read", cached["AUDIO"])])
    counts["input"] = fresh + tools
    counts["output"] = split(counts, made, [("audio_output", out["AUDIO"]), ("image_output", out["IMAGE"])])
    counts["reasoning"] = thoughts
    return Usage({unit: count for unit, count in counts.items() if count or unit in ("input", "output")})


def _modalities(found: Mapping[str, Any], name: str) -> dict[str, int]:
    made = {"AUDIO": 0, "IMAGE": 0}
    for one in objects_in(found, name):
        kind = one.get("modality")
        if isinstance(kind, str) and kind in made:
            made[kind] += count_in(one, "tokenCount") or 0
    return made
