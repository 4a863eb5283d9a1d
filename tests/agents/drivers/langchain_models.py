"""LangChain's model by the settings of its page, and its class for Anthropic: tool calls in a loop, plain and streamed.

Arguments: the file of the settings, base URL, key, prompt, models. Prints what was said. It must never import the
package.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool


@tool  # type: ignore[untyped-decorator]
def multiply(a: int, b: int) -> str:
    """a times b."""
    return f"ran-{a * b}"


def last(model: Any, prompt: str, *, stream: bool) -> str:
    messages: list[Any] = [("user", prompt)]
    able = model.bind_tools([multiply])
    while True:
        if stream:
            said = None
            for chunk in able.stream(messages):
                said = chunk if said is None else said + chunk
        else:
            said = able.invoke(messages)
        assert said is not None and said.usage_metadata["total_tokens"] > 0
        if not said.tool_calls:
            return str(said.text)
        messages += [said, *(multiply.invoke(call) for call in said.tool_calls)]


def main(settings: str, base_url: str, key: str, prompt: str, *names: str) -> None:
    own: Any = ChatAnthropic
    ours = runpy.run_path(settings)["model"]
    for name in names:
        for model in (ours.model_copy(update={"model_name": name}), own(base_url=base_url, api_key=key, model=name)):
            for stream in (False, True):
                print(type(model).__name__, stream, last(model, prompt, stream=stream))


if __name__ == "__main__":
    main(*sys.argv[1:])
