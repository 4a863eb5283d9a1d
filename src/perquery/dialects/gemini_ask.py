"""A body in chat form as Gemini's generateContent has it, for an upstream that speaks that. Pure.

What Gemini cannot be told is left out and named. It must never send a signature of another vendor's thinking, nor
one of Gemini's on another part than the one that it came with.
"""

from __future__ import annotations

import mimetypes
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

import orjson

from perquery.dialects.thoughts import GEMINI, wished

# Gemini's own word for a call that another model made: the newer models refuse a call without a signature.
UNSIGNED: Final = "skip_thought_signature_validator"
THINKS: Final = (2, 5)  # from here on a model thinks, and has no penalties
LEVELS: Final = (3, 0)  # from here on thinking has levels instead of budgets, and calls must be signed
_VERSION: Final = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_DROPPED: Final = (
    *("logit_bias", "prediction", "verbosity", "functions"),
    *("min_p", "top_a", "repetition_penalty"),
)
_SAMPLERS: Final[Mapping[str, str]] = {"temperature": "temperature", "top_p": "topP", "n": "candidateCount"}
_PENALTIES: Final = {"frequency_penalty": "frequencyPenalty", "presence_penalty": "presencePenalty"}
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
# Google's own table for its OpenAI endpoint.
_BUDGETS: Final = {"minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
_LEVELS: Final = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_SEEDS: Final = 2**31
_LOGPROBS_MAX: Final = 20


def ask(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(The body for generateContent, whose model and streaming its address says; the parameters that were dropped.)"""
    model = str(body.get("model"))
    dropped = [name for name in _DROPPED if body.get(name)]
    made = _conversation(body.get("messages") or (), version(model))
    made |= _tools(body, dropped)
    config = _sampling(body, version(model), dropped) | _outputs(body) | _formatted(body, made, version(model), dropped)
    if thinking := _thinking(body, model, dropped):
        config["thinkingConfig"] = thinking
    return made | ({"generationConfig": config} if config else {}), dropped


def version(model: str) -> tuple[int, int]:
    """(2, 5) of gemini-2.5-flash; what is not recognised counts as new."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


# -- messages ---------------------------------------------------------------------------------------------------


def _conversation(given: Any, generation: tuple[int, int]) -> dict[str, Any]:
    """Every system message goes to the front; results come right behind the calls that they answer, in one turn."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    called: dict[str, tuple[str, list[dict[str, Any]]]] = {}  # a call's id → its name, the parts of its turn's results
    for message in given:
        role = message.get("role")
        if role in ("system", "developer"):
            system += _parts(message.get("content"))
        elif role == "assistant":
            results: list[dict[str, Any]] = []
            turns += [{"role": "model", "parts": _model(message, generation)}, {"role": "user", "parts": results}]
            called |= {id: (name, results) for id, name in _called(message)}
        elif role in ("tool", "function"):
            id = str(message.get("tool_call_id") or "")
            name, place = called.get(id) or (message.get("name") or id or "tool", None)
            if place is None:
                turns.append({"role": "user", "parts": (place := [])})
            place += _result(message, name, generation)
        else:
            turns.append({"role": "user", "parts": _parts(message.get("content"))})
    contents = [turn for turn in turns if turn["parts"]]
    if not contents:  # nothing but instructions: Gemini wants something to answer
        return {"contents": [{"role": "user", "parts": system}]}
    return {"contents": contents} | ({"systemInstruction": {"parts": system}} if system else {})


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}] if content else []
    parts = content if isinstance(content, list) else ()
    return [made for part in parts if (made := _part({"text": part} if isinstance(part, str) else part))]


def _part(part: Any) -> dict[str, Any] | None:
    if not isinstance(part, dict):
        return None
    if text := part.get("text") or part.get("refusal"):
        return {"text": text} if isinstance(text, str) else None
    match part.get("type"):
        case "image_url" | "video_url" as kind:
            given = part.get(kind)
            return _media(given.get("url") if isinstance(given, dict) else given)
        case "input_audio":
            audio = _object(part.get("input_audio"))
            return {"inlineData": {"mimeType": f"audio/{audio.get('format') or 'wav'}", "data": audio.get("data")}}
        case "file":
            file = _object(part.get("file"))
            return _media(file.get("file_data") or file.get("file_url"), str(file.get("filename") or ""))
    return None


def _media(url: Any, name: str = "") -> dict[str, Any] | None:
    """A data URL inline, another by its address; bare base64 (of a file) by the type that its name tells."""
    if not isinstance(url, str):
        return None
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        if not head.endswith(";base64"):
            data = b64encode(unquote_to_bytes(data)).decode()
        return {"inlineData": {"mimeType": head.partition(";")[0] or "text/plain", "data": data}}
    if "://" not in url[:16]:
        return {"inlineData": {"mimeType": mimetypes.guess_type(name)[0] or "application/pdf", "data": url}}
    kind = mimetypes.guess_type(_path(url))[0]
    return {"fileData": {"fileUri": url} | ({"mimeType": kind} if kind else {})}


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _called(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(Id, name) of an assistant message's tool calls."""
    calls = _objects(message.get("tool_calls"))
    return [(str(call.get("id") or ""), str(_function(call).get("name") or "")) for call in calls]


def _function(call: Mapping[str, Any]) -> dict[str, Any]:
    return _object(call.get("function"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _model(message: Mapping[str, Any], generation: tuple[int, int]) -> list[dict[str, Any]]:
    """Text, images and calls, each with the signature that it came with."""
    signed: dict[str, str] = {}
    loose: list[str] = []
    for detail in _objects(message.get("reasoning_details")):
        if detail.get("format") == GEMINI and isinstance(detail.get("data"), str):
            if detail.get("id"):
                signed[str(detail["id"])] = detail["data"]
            else:
                loose.append(detail["data"])
    parts = [*_parts(message.get("content")), *_parts(message.get("refusal"))]
    texts = [part for part in parts if "text" in part]
    for number, signature in enumerate(loose):
        if number or not texts:  # one may come on an empty part of its own, and goes back so
            texts.append({"text": ""})
            parts.append(texts[-1])
        texts[-1]["thoughtSignature"] = signature
    for number, image in enumerate(_objects(message.get("images"))):
        if made := _part(image):
            parts.append(_signed(made, signed.get(image_id(number))))
    for number, call in enumerate(_objects(message.get("tool_calls"))):
        function = _function(call)
        given = _arguments(function.get("arguments"))
        made = {"name": function.get("name"), "args": given} | ({"id": call["id"]} if call.get("id") else {})
        # Of calls side by side the first one is signed.
        unsigned = UNSIGNED if generation >= LEVELS and not number else None
        parts.append(_signed({"functionCall": made}, signed.get(str(call.get("id"))) or unsigned))
    return parts


def image_id(number: int) -> str:
    """What stands for a tool call's id in the signature of an image."""
    return f"image_{number}"


def _signed(part: dict[str, Any], signature: str | None) -> dict[str, Any]:
    return part | ({"thoughtSignature": signature} if signature else {})


def _arguments(text: Any) -> Any:
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:  # also where it is no text
        found = None
    return found if isinstance(found, dict) else {"arguments": text}


def _result(message: Mapping[str, Any], name: str, generation: tuple[int, int]) -> list[dict[str, Any]]:
    """A tool's answer. Images belong in it where the model takes them there, else beside it."""
    parts = _parts(message.get("content"))
    text = "\n".join([part["text"] for part in parts if "text" in part])
    media = [part for part in parts if "text" not in part]
    made: dict[str, Any] = {"name": name, "response": {"error" if message.get("is_error") else "output": text}}
    if message.get("tool_call_id"):
        made["id"] = message["tool_call_id"]
    if generation >= LEVELS and (inside := [part for part in media if "inlineData" in part]):
        made["parts"] = inside
        media = [part for part in media if "inlineData" not in part]
    return [{"functionResponse": made}, *media]


# -- options ----------------------------------------------------------------------------------------------------


def _tools(body: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    declared = []
    strict = False
    for tool in body.get("tools") or ():
        function = tool.get("function")
        if not isinstance(function, dict):
            dropped.append("tools")
            continue
        own = {name: function[name] for name in ("name", "description") if function.get(name) is not None}
        if function.get("parameters"):
            own["parametersJsonSchema"] = function["parameters"]
        strict = strict or function.get("strict") is True
        declared.append(own)
    searches: list[dict[str, Any]] = [{"googleSearch": {}}] if body.get("web_search") else []
    if not declared:
        return {"tools": searches} if searches else {}
    if searches and version(str(body.get("model"))) < LEVELS:  # the older models take one or the other
        searches = []
        dropped.append("web_search")
    if body.get("parallel_tool_calls") is False:
        dropped.append("parallel_tool_calls")
    made: dict[str, Any] = {"tools": [{"functionDeclarations": declared}, *searches]}
    if mode := _mode(body.get("tool_choice"), strict):
        made["toolConfig"] = {"functionCallingConfig": mode}
    return made


def _mode(choice: Any, strict: bool) -> dict[str, Any] | None:
    """Which functions may be called. VALIDATED is AUTO with calls held to their schemas, or to a list of names."""
    names: list[Any] = []
    if isinstance(choice, dict):
        if isinstance(choice.get("function"), dict):
            return {"mode": "ANY", "allowedFunctionNames": [choice["function"].get("name")]}
        allowed = _object(choice.get("allowed_tools"))
        choice = allowed.get("mode")
        names = [name for tool in _objects(allowed.get("tools")) if (name := _function(tool).get("name"))]
    mode = _MODES.get(choice) if isinstance(choice, str) else None
    if mode in (None, "AUTO") and (strict or names):
        mode = "VALIDATED"
    return {"mode": mode} | ({"allowedFunctionNames": names} if names else {}) if mode else None


def _sampling(body: Mapping[str, Any], generation: tuple[int, int], dropped: list[str]) -> dict[str, Any]:
    made = {ours: body[name] for name, ours in _SAMPLERS.items() if body.get(name) is not None}
    if made.get("candidateCount") == 1:
        del made["candidateCount"]
    caps = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name)]
    if caps:
        made["maxOutputTokens"] = min(caps)
    if (body.get("top_k") or 0) >= 1:  # elsewhere 0 and -1 switch it off
        made["topK"] = int(body["top_k"])
    if body.get("seed") is not None:
        made["seed"] = body["seed"] % _SEEDS
    for name, ours in _PENALTIES.items():
        if body.get(name) and generation >= THINKS:
            dropped.append(name)
        elif body.get(name):
            made[ours] = body[name]
    stop = body.get("stop")
    if stops := [one for one in ([stop] if isinstance(stop, str) else stop or ()) if one]:
        made["stopSequences"] = stops
    return made


def _outputs(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is wanted beside, or instead of, text."""
    made: dict[str, Any] = {}
    if body.get("logprobs"):
        made["responseLogprobs"] = True
        if body.get("top_logprobs"):
            made["logprobs"] = min(body["top_logprobs"], _LOGPROBS_MAX)
    modalities = [one.upper() for one in body.get("modalities") or () if isinstance(one, str)]
    if modalities not in ([], ["TEXT"]):
        made["responseModalities"] = modalities
    voice = (body.get("audio") or {}).get("voice")
    if voice and "AUDIO" in modalities:
        made["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}
    return made


def _formatted(
    body: Mapping[str, Any], made: Mapping[str, Any], generation: tuple[int, int], dropped: list[str]
) -> dict[str, Any]:
    wanted = body.get("response_format") or {}
    if wanted.get("type") not in ("json_object", "json_schema"):
        return {}
    if "tools" in made and generation < LEVELS:  # the older models answer 400 to both at once
        dropped.append("response_format")
        return {}
    schema = _object(wanted.get("json_schema")).get("schema")
    return {"responseMimeType": "application/json"} | ({"responseJsonSchema": schema} if schema else {})


def _thinking(body: Mapping[str, Any], model: str, dropped: list[str]) -> dict[str, Any]:
    """Effort and budget as the model's generation takes them; nothing where the caller said nothing."""
    asked = body.get("reasoning") or wished(body.get("thinking"))
    effort, budget = str(asked.get("effort") or body.get("reasoning_effort") or ""), asked.get("max_tokens")
    budget = budget if isinstance(budget, int) else 0
    off = effort == "none" or asked.get("enabled") is False
    if not (off or effort or budget or asked.get("enabled")):
        return {}
    if version(model) < THINKS:
        if not off:
            dropped.append("reasoning" if asked else "reasoning_effort")
        return {}
    made: dict[str, Any] = {} if off or asked.get("exclude") else {"includeThoughts": True}
    if version(model) < LEVELS:
        made["thinkingBudget"] = _budget(model, 0 if off else budget or _BUDGETS.get(effort, -1))
    elif off or effort or budget:
        made |= _level(model, "minimal" if off else effort or _effort(budget))
    return made


def _budget(model: str, wanted: int) -> int:
    """A number of tokens that the model takes; -1 leaves it to the model."""
    if wanted < 0 or (wanted == 0 and "pro" not in model):
        return wanted
    least, most = (128, 32_768) if "pro" in model else (512 if "lite" in model else 1, 24_576)
    return min(most, max(least, wanted))


def _effort(budget: int) -> str:
    return next((effort for effort in ("low", "medium") if budget <= _BUDGETS[effort]), "high")


def _level(model: str, effort: str) -> dict[str, Any]:
    """The nearest level that the model has: those of the pro size cannot think but little."""
    level = _LEVELS.get(effort)
    if "pro" in model and level == "MINIMAL":
        level = "LOW"
    if "pro" in model and level == "MEDIUM" and version(model) == LEVELS:
        level = "HIGH"
    return {"thinkingLevel": level} if level else {}
