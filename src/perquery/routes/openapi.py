"""The OpenAPI document: FastAPI's own for the control plane, and these entries for the data plane.

Every route must be in it (a test compares), so that tools and people find the whole API in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_BEARER: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"creditId": []}, {"apiKey": []}]
ERROR: Final = {
    "description": "An error",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_EVENT: Final = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
_ERRORS: Final = dict.fromkeys(("400", "401", "402", "403", "404", "409", "413", "415", "422", "429", "503"), ERROR)


def _paid(summary: str, schema: str) -> dict[str, Any]:
    content = {
        "application/json": {"schema": {"type": "object"}},
        "text/event-stream": {"schema": _EVENT},  # of each event, as OpenAPI 3.2 reads it
    }
    return {
        "post": {
            "summary": summary,
            "tags": ["chat"],
            "security": _BEARER,
            "parameters": [
                _header("Idempotency-Key", "The same key and body within 24 hours get the first answer again, unpaid."),
                _header("x-perquery-strict-cap", "`true`: refuse with 402 rather than lower the output cap."),
                _header("x-perquery-cache", "`off`: mark nothing for the upstream's prompt cache."),
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
            },
            "responses": {"200": {"description": "The answer, or its stream", "content": content}, **_ERRORS},
        }
    }


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


def _query(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": {"type": "string"}}


def _json(summary: str, parameters: list[dict[str, Any]], *errors: str) -> dict[str, Any]:
    answer = {"description": summary, "content": {"application/json": {"schema": {"type": "object"}}}}
    responses: dict[str, Any] = {"200": answer, **dict.fromkeys(errors, ERROR)}
    return {"get": {"summary": summary, "tags": ["models"], "parameters": parameters, "responses": responses}}


def _counted(summary: str) -> dict[str, Any]:
    operation: dict[str, Any] = _paid(summary, "CountRequest")
    del operation["post"]["parameters"]
    counted = {"type": "object", "required": ["input_tokens"], "properties": {"input_tokens": {"type": "integer"}}}
    operation["post"]["responses"]["200"] = {
        "description": "The count",
        "content": {"application/json": {"schema": counted}},
    }
    return operation


def _work(
    summary: str, schema: str, sent: str = "application/json", answered: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Work that is not chat. sent: the body's content type; answered: the answer's, one JSON object where left out."""
    return {
        "post": {
            "summary": summary,
            "tags": ["work"],
            "security": _BEARER,
            "parameters": [_header("Idempotency-Key", "The same request within 24 hours gets the first answer again.")],
            "requestBody": {
                "required": True,
                "content": {sent: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
            },
            "responses": {
                "200": {
                    "description": "The answer",
                    "content": answered or {"application/json": {"schema": {"type": "object"}}},
                },
                **_ERRORS,
            },
        }
    }


def _each_speech(prefix: str) -> dict[str, Any]:
    """Speech stands at three places: OpenAI's, without its prefix, and PPQ's."""
    return {
        f"{prefix}/audio/transcriptions": _work("What was said", "TranscriptionRequest", _FORM, _WRITTEN),
        f"{prefix}/audio/translations": _work("What was said, in English", "TranscriptionRequest", _FORM, _WRITTEN),
        f"{prefix}/audio/speech": _work("A text, spoken; streamed", "SpeechRequest", answered=_SPOKEN),
        f"{prefix}/audio/models": _json("The models for speech that can be called now", []),
        f"{prefix}/audio/voices": _json("The voices that can be spoken with now", [_LANGUAGE, _VOICED], "404"),
    }


_FORM: Final = "multipart/form-data"
_WRITTEN: Final = {
    "application/json": {"schema": {"type": "object"}},
    **{type: {"schema": {"type": "string"}} for type in ("text/plain", "text/vtt", "application/x-subrip")},
    "text/event-stream": {"schema": _EVENT},
}
_SPOKEN: Final = {
    f"audio/{name}": {"schema": {"type": "string", "format": "binary"}}
    for name in ("mpeg", "ogg", "aac", "flac", "wav", "pcm")
}
_LANGUAGE: Final = _query("language", "two letters: only voices that speak it")
_VOICED: Final = _query("model", "only this model's voices, by any of its names")


def _begun(summary: str) -> dict[str, Any]:
    """A job: PPQ's shape is answered with 202, OpenAI's with 200."""
    operation = _work(summary, "VideoRequest")
    operation["post"]["responses"]["202"] = operation["post"]["responses"]["200"]
    return operation


_MODEL: Final = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
_TYPE: Final = _query("type", "chat (default), all, or several kinds with commas; audio is speech in both directions")
_AVAILABILITY: Final = _query("availability", "`all` adds what cannot be called now, with the reason")
DATA_PLANE: Final[dict[str, Any]] = {
    "/v1/chat/completions": _paid("Chat completion (OpenAI's shape), plain or streamed", "ChatRequest"),
    "/chat/completions": _paid("Alias of /v1/chat/completions", "ChatRequest"),
    "/v1/completions": _paid("Legacy completion (OpenAI's shape), plain or streamed", "CompletionsRequest"),
    "/completions": _paid("Alias of /v1/completions", "CompletionsRequest"),
    "/v1/messages": _paid("Message (Anthropic's shape), plain or streamed", "MessagesRequest"),
    "/messages": _paid("Alias of /v1/messages", "MessagesRequest"),
    "/v1/messages/count_tokens": _counted("How many input tokens a message probably has; free"),
    "/messages/count_tokens": _counted("Alias of /v1/messages/count_tokens"),
    "/v1/responses": _paid("Response (OpenAI's shape), plain or streamed", "ResponsesRequest"),
    "/responses": _paid("Alias of /v1/responses", "ResponsesRequest"),
    "/v1/embeddings": _work("Embeddings (OpenAI's shape)", "EmbeddingsRequest"),
    "/embeddings": _work("Alias of /v1/embeddings", "EmbeddingsRequest"),
    **_each_speech("/v1"),
    **_each_speech(""),
    **_each_speech("/api/v1"),
    "/v1/images/generations": _work("Images (OpenAI's shape, with PPQ's parameters)", "ImagesRequest"),
    "/images/generations": _work("Alias of /v1/images/generations", "ImagesRequest"),
    "/v1/images/edits": _work("Images made from images; also as a form", "ImagesRequest"),
    "/images/edits": _work("Alias of /v1/images/edits", "ImagesRequest"),
    "/v1/videos": _begun("Begin a video (PPQ's shape; also OpenAI's, as JSON or a form)"),
    "/videos": _begun("Alias of /v1/videos"),
    "/v1/rerank": _work("Documents by how well they answer a question (Cohere's and Jina's shape)", "RerankRequest"),
    "/rerank": _work("Alias of /v1/rerank", "RerankRequest"),
    "/v1/moderations": _work("Moderation (OpenAI's shape); free", "ModerationsRequest"),
    "/moderations": _work("Alias of /v1/moderations", "ModerationsRequest"),
    "/v1/models": _json("The models that can be called now, with prices", [_TYPE, _AVAILABILITY], "400"),
    "/models": _json("Alias of /v1/models", [_TYPE, _AVAILABILITY], "400"),
    "/v1/models/{model}": _json("One model, by any of its names", [_MODEL], "404"),
    "/models/{model}": _json("Alias of /v1/models/{model}", [_MODEL], "404"),
    "/v1/models/{model}/endpoints": _json("Through whom a model can be called, and how they do", [_MODEL], "404"),
    "/models/{model}/endpoints": _json("Alias of /v1/models/{model}/endpoints", [_MODEL], "404"),
}
_MESSAGES: Final = {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["role"]}}
_NAMES: Final = {"type": "array", "items": {"type": "string"}}
_USD: Final = {"type": "number", "minimum": 0}
_PROVIDER: Final = {
    "type": "object",
    "properties": {
        "order": _NAMES,
        "only": _NAMES,
        "ignore": _NAMES,
        "allow_fallbacks": {"type": "boolean"},
        "require_parameters": {"type": "boolean"},
        "sort": {"enum": ["price", "throughput", "latency"]},
        "max_price": {
            "type": "object",
            "properties": dict.fromkeys(("prompt", "completion", "request", "image"), _USD),
            "additionalProperties": False,
        },
        "data_collection": {"enum": ["allow", "deny"]},
        "zdr": {"type": "boolean"},
    },
}
_COMMON: Final[dict[str, Any]] = {
    "model": {"type": "string"},
    "models": _NAMES | {"maxItems": 4},
    "route": {"const": "fallback"},
    "provider": _PROVIDER,
    "stream": {"type": "boolean"},
    "temperature": {"type": "number"},
    "top_p": {"type": "number"},
    "tools": {"type": "array", "items": {"type": "object"}},
}


def _body(*required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["model", *required],
        "properties": _COMMON | properties,
        "additionalProperties": True,
    }


_CAP: Final = {"type": "integer", "minimum": 1}
_SCHEMAS: Final[dict[str, Any]] = {
    "EmbeddingsRequest": {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": {"type": "string", "minLength": 1},
            "input": {
                "oneOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "minItems": 1, "maxItems": 2048, "items": {"type": "string", "minLength": 1}},
                ]
            },
            "dimensions": {"type": ["integer", "null"], "minimum": 1, "maximum": 2147483647},
            "encoding_format": {"enum": ["float", "base64", None]},
        },
        "additionalProperties": True,
    },
    "TranscriptionRequest": {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {"type": "string", "format": "binary"},
            "model": {"type": "string", "default": "nova-3"},
            "language": {"type": "string"},
            "prompt": {"type": "string", "maxLength": 8000},
            "response_format": {"enum": ["json", "text", "srt", "vtt", "verbose_json"]},
            "temperature": {"type": "number", "minimum": 0, "maximum": 1},
            "timestamp_granularities[]": {"type": "array", "items": {"enum": ["segment", "word"]}},
            "stream": {"enum": ["true", "false"]},
        },
        "additionalProperties": True,
    },
    "SpeechRequest": {
        "type": "object",
        "required": ["input"],
        "properties": {
            "input": {"type": "string", "minLength": 1, "maxLength": 5000},
            "model": {"type": ["string", "null"], "default": "deepgram_aura_2"},
            "voice": {
                "anyOf": [
                    {"type": ["string", "null"]},
                    {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
                ]
            },
            "response_format": {"enum": ["mp3", "opus", "aac", "flac", "wav", "pcm", None]},
            "speed": {"type": ["number", "null"], "minimum": 0.25, "maximum": 4},
            "instructions": {"type": ["string", "null"]},
            "language": {"type": ["string", "null"]},
            "stream_format": {"enum": ["audio", None]},
        },
        "additionalProperties": True,
    },
    "ImagesRequest": {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {
            "model": {"type": "string", "minLength": 1},
            "prompt": {"type": "string", "minLength": 1, "maxLength": 32000},
            "n": {"type": "integer", "minimum": 1, "maximum": 10},
            "size": {"type": "string"},
            "aspect_ratio": {"type": "string"},
            "resolution": {"enum": ["1K", "2K", "4K"]},
            "quality": {"type": "string"},
            "negative_prompt": {"type": "string"},
            "output_format": {"type": "string"},
            "seed": {"type": "integer", "minimum": 0},
            "image_url": {"type": "string"},
            "response_format": {"enum": ["url", "b64_json"]},
        },
        "additionalProperties": True,
    },
    "VideoRequest": {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {
            "model": {"type": "string", "minLength": 1},
            "prompt": {"type": "string", "minLength": 1, "maxLength": 32000},
            "duration": {"type": ["integer", "string"]},
            "quality": {"type": "string"},
            "aspect_ratio": {"type": "string"},
            "negative_prompt": {"type": "string"},
            "seed": {"type": "integer", "minimum": 0},
            "image_url": {"type": "string"},
            "webhook_url": {"type": "string"},
            "webhook_secret": {"type": "string", "maxLength": 200},
        },
        "additionalProperties": True,
    },
    "RerankRequest": {
        "type": "object",
        "required": ["model", "query", "documents"],
        "properties": {
            "model": {"type": "string", "minLength": 1},
            "query": {"type": "string", "minLength": 1},
            "documents": {"type": "array", "minItems": 1, "maxItems": 1000, "items": {"type": "string"}},
            "top_n": {"type": ["integer", "null"], "minimum": 1, "maximum": 2147483647},
            "return_documents": {"type": ["boolean", "null"]},
        },
        "additionalProperties": True,
    },
    "ModerationsRequest": {
        "type": "object",
        "required": ["input"],
        "properties": {
            "model": {"type": ["string", "null"]},
            "input": {"oneOf": [{"type": "string"}, _NAMES | {"minItems": 1, "maxItems": 2048}]},
        },
        "additionalProperties": True,
    },
    "CompletionsRequest": _body("prompt", prompt={"type": "string"}, max_tokens=_CAP),
    "MessagesRequest": _body(
        "messages", "max_tokens", messages=_MESSAGES, max_tokens=_CAP, thinking={"type": "object"}
    ),
    "CountRequest": _body("messages", messages=_MESSAGES),
    "ResponsesRequest": _body(
        "input",
        input={"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
        instructions={"type": "string"},
        max_output_tokens=_CAP,
        reasoning={"type": "object"},
        text={"type": "object"},
    ),
    "ChatRequest": _body(
        "messages",
        messages=_MESSAGES,
        stream_options={"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
        max_tokens=_CAP,
        max_completion_tokens=_CAP,
        n={"type": "integer", "minimum": 1, "maximum": 128},
        stop={"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        response_format={"type": "object"},
    ),
    "Error": {
        "type": "object",
        "required": ["error", "status", "statusCode", "message"],
        "properties": {
            "status": {"const": "error"},
            "statusCode": {"type": "integer"},
            "message": {"type": "string"},
            "error": {
                "type": "object",
                "required": ["message", "type", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "code": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                },
            },
        },
    },
}
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "creditId": {"type": "apiKey", "in": "header", "name": "x-credit-id"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def _put_errors(verb: str, operation: dict[str, Any]) -> None:
    """How a route of the control plane may fail; FastAPI says 422 of its own where we answer 400."""
    statuses = ["503"]
    if "security" in operation:
        statuses += ["401", "403"]
    if "parameters" in operation or "requestBody" in operation:
        statuses += ["400", "404"]
    if verb in ("post", "patch"):
        statuses += ["413", "429"]
    named = {parameter["name"] for parameter in operation.get("parameters", ())}
    statuses += ["409"] * ("Idempotency-Key" in named) + ["429"] * ("Last-Event-ID" in named)
    operation["responses"].pop("422", None)
    operation["responses"] |= dict.fromkeys(sorted(statuses), ERROR)


def install(control: FastAPI) -> None:
    """Make the control plane's document hold the data plane too."""

    def document() -> dict[str, Any]:
        if control.openapi_schema is None:
            made = get_openapi(title=control.title, version=control.version, routes=control.routes)
            for verbs in made["paths"].values():
                for verb, operation in verbs.items():
                    _put_errors(verb, operation)
            # A path may have verbs on both planes.
            for path, verbs in DATA_PLANE.items():
                made["paths"][path] = verbs | made["paths"].get(path, {})
            made["components"] = {"schemas": _SCHEMAS, "securitySchemes": _SECURITY}
            control.openapi_schema = made
        return control.openapi_schema

    control.openapi = document  # type: ignore[method-assign]
