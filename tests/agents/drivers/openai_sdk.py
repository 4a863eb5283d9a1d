"""OpenAI's Python SDK as its users write it: a loop over tool calls, in chat and in Responses, plain and streamed; and
what else it has: every parameter, answers that it parses, the list of models, legacy completions, embeddings, images,
speech in both directions.

Arguments: base URL, key, prompt, models. Prints what was said. It must never import the package.
"""

from __future__ import annotations

import io
import json
import sys
import wave
from typing import Any

from openai import OpenAI
from pydantic import BaseModel

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
TOOL: dict[str, Any] = {"name": "multiply", "description": "a times b", "parameters": SCHEMA, "strict": True}


def multiply(arguments: str) -> str:
    given = json.loads(arguments)
    return f"ran-{given['a'] * given['b']}"


def chat(client: OpenAI, model: str, prompt: str, *, stream: bool) -> str:
    messages: list[Any] = [{"role": "user", "content": prompt}]
    tools: list[Any] = [{"type": "function", "function": TOOL}]
    while True:
        if stream:
            with client.chat.completions.stream(
                model=model, messages=messages, tools=tools, stream_options={"include_usage": True}
            ) as events:
                whole: Any = events.get_final_completion()
        else:
            whole = client.chat.completions.create(model=model, messages=messages, tools=tools)
        assert whole.usage.cost > 0
        message = whole.choices[0].message
        if not message.tool_calls:
            return str(message.content)
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in message.tool_calls:
            content = multiply(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": content})


def responses(client: OpenAI, model: str, prompt: str, *, stream: bool) -> str:
    items: list[Any] = [{"role": "user", "content": prompt}]
    tools: list[Any] = [{"type": "function", **TOOL}]
    while True:
        if stream:
            with client.responses.stream(model=model, input=items, tools=tools) as events:
                whole: Any = events.get_final_response()
        else:
            whole = client.responses.create(model=model, input=items, tools=tools, store=False)
        assert whole.usage.cost > 0
        calls = [item for item in whole.output if item.type == "function_call"]
        if not calls:
            return str(whole.output_text)
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in whole.output]
        items += [
            {"type": "function_call_output", "call_id": call.call_id, "output": multiply(call.arguments)}
            for call in calls
        ]


class Answer(BaseModel):
    said: str


def everything(client: OpenAI, model: str) -> str:
    """Each parameter of chat that an upstream may or may not take: none is an error."""
    pixel = "data:image/png;base64,iVBORw0KGgo="
    parts: list[Any] = [{"type": "text", "text": "Say something."}, {"type": "image_url", "image_url": {"url": pixel}}]
    messages: list[Any] = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    tools: list[Any] = [{"type": "function", "function": TOOL}]
    whole = client.chat.completions.create(
        model=model,
        messages=messages,
        max_completion_tokens=2_000,
        reasoning_effort="low",
        tools=tools,
        tool_choice="auto",
        parallel_tool_calls=False,
        seed=1,
        n=1,
        stop=["\n\n\n"],
        logprobs=True,
        top_logprobs=2,
        prediction={"type": "content", "content": "x"},
        verbosity="low",
        metadata={"a": "b"},
        user="u",
        store=False,
        service_tier="auto",
    )
    return str(whole.choices[0].message.content)


def the_rest(client: OpenAI, model: str) -> None:
    asked: list[Any] = [{"role": "user", "content": "Say something."}]
    print("parsed", client.chat.completions.parse(model=model, messages=asked, response_format=Answer).choices[0])
    print("parsed", client.responses.parse(model=model, input=asked, text_format=Answer).output_parsed)
    raw = client.chat.completions.with_raw_response.create(model=model, messages=asked)
    assert raw.request_id and raw.headers["x-perquery-cost"]
    for chunk in client.chat.completions.create(model=model, messages=asked, stream=True):
        assert chunk.choices, "usage for one who did not ask for it"
    assert model in [one.id for one in client.models.list()] and client.models.retrieve(model).id == model
    print("completed", client.completions.create(model=model, prompt="Say something.").choices[0].text)


def sound() -> tuple[str, bytes]:
    """A second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8_000)
        writer.writeframes(b"\0" * 16_000)
    return "a.wav", file.getvalue()


def other_work(client: OpenAI, model: str) -> None:
    embedded = client.embeddings.create(model=model, input=["a", "b"]).data
    assert [type(one.embedding[0]) for one in embedded] == [float, float]
    drawn = client.images.generate(model=model, prompt="A cat.", size="1024x1024").data
    assert drawn and drawn[0].b64_json
    print("spoken", len(client.audio.speech.create(model=model, voice="alloy", input="Hello.").read()))
    print("heard", client.audio.transcriptions.create(model=model, file=sound()).text)


def main(base_url: str, key: str, prompt: str, *models: str) -> None:
    client = OpenAI(base_url=base_url + "/v1", api_key=key, max_retries=0)
    for model in models:
        for ask in (chat, responses):
            for stream in (False, True):
                print(ask.__name__, stream, ask(client, model, prompt, stream=stream))
        print("everything", everything(client, model))
        the_rest(client, model)
    other_work(client, models[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
