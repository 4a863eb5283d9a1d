"""Anthropic's Python SDK with its own loop over tool calls, plain and streamed.

Arguments: base URL, key, model, prompt. Prints what was said. It must never import the package.
"""

from __future__ import annotations

import sys

from anthropic import Anthropic, beta_tool


@beta_tool
def multiply(a: int, b: int) -> str:
    """a times b."""
    return f"ran-{a * b}"


def main(base_url: str, key: str, model: str, prompt: str) -> None:
    client = Anthropic(base_url=base_url, api_key=key, max_retries=0)
    for stream in (False, True):
        runner = client.beta.messages.tool_runner(
            model=model,
            max_tokens=2_000,
            messages=[{"role": "user", "content": prompt}],
            tools=[multiply],
            stream=stream,
        )
        last = runner.until_done()
        print(stream, [block.text for block in last.content if block.type == "text"])
    print(client.messages.count_tokens(model=model, messages=[{"role": "user", "content": prompt}]).input_tokens)


if __name__ == "__main__":
    main(*sys.argv[1:])
