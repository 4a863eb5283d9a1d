"""Anthropic's Python SDK with its own loop over tool calls, plain and streamed; and what else it has for text: markers,
pictures also in a tool's result, a thought that goes back, counting, the list of models, both headers for the key.

Arguments: base URL, key, prompt, models. Prints what was said. It must never import the package.
"""

from __future__ import annotations

import sys
from typing import Any

from anthropic import Anthropic, beta_tool

MARK: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
PICTURE: dict[str, Any] = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
TOOL: dict[str, Any] = {
    "name": "multiply",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
}


@beta_tool
def multiply(a: int, b: int) -> str:
    """a times b."""
    return f"ran-{a * b}"


def thought(client: Anthropic, model: str, prompt: str) -> str:
    """A turn with a thought and a call, whose result is a picture beside the words."""
    asked: dict[str, Any] = {"model": model, "max_tokens": 4_000, "tools": [TOOL | MARK]}
    asked |= {
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "system": [{"type": "text", "text": "Go."} | MARK],
    }
    asked |= {"metadata": {"user_id": "u"}, "stop_sequences": ["###"]}
    asked |= {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    first: Any = {"role": "user", "content": [{"type": "text", "text": prompt} | MARK, PICTURE]}
    said = client.messages.create(messages=[first], **asked)
    (call,) = [block for block in said.content if block.type == "tool_use"]
    found = [{"type": "text", "text": multiply(6, 7)}, PICTURE]
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": found}]}
    turns: list[Any] = [first, {"role": "assistant", "content": said.content}, result]
    with client.messages.stream(messages=turns, **asked) as events:
        return "".join(events.text_stream)


def looped(client: Anthropic, model: str, prompt: str, *, stream: bool) -> list[str]:
    runner: Any = client.beta.messages.tool_runner(
        model=model,
        max_tokens=2_000,
        messages=[{"role": "user", "content": prompt}],
        tools=[multiply],
        stream=stream,
    )
    return [block.text for block in runner.until_done().content if block.type == "text"]


def main(base_url: str, key: str, prompt: str, *models: str) -> None:
    client = Anthropic(base_url=base_url, api_key=key, max_retries=0)
    bearer = Anthropic(base_url=base_url, auth_token=key, max_retries=0)
    for model in models:
        for stream in (False, True):
            print(stream, looped(client, model, prompt, stream=stream))
        print(thought(client, model, prompt))
        assert model in [one.id for one in client.models.list()] and client.models.retrieve(model).id == model
        print(bearer.messages.count_tokens(model=model, messages=[{"role": "user", "content": prompt}]).input_tokens)


if __name__ == "__main__":
    main(*sys.argv[1:])
