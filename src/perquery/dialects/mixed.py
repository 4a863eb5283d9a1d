"""Bodies of one dialect at the path of another: Cursor posts what it would post to Responses, or parts of Anthropic's
Messages, to /v1/chat/completions, and wants chat chunks back. Pure.
"""

from __future__ import annotations

import orjson

from perquery.calls import Call
from perquery.dialects import chat
from perquery.dialects.fields import object_of
from perquery.dialects.responses_in import chat_tools, to_chat_body


def parse(raw: bytes) -> Call:
    """A body at the chat path → Call. What looks like chat is not looked at twice. Raises BadRequest."""
    # `in` takes bytes for a number first, and makes an error of it: as dear as the search.
    foreign = raw.find(b'"input_schema"') >= 0 or (
        raw.find(b'"tool_') >= 0 and (raw.find(b'"tool_use"') >= 0 or raw.find(b'"tool_result"') >= 0)
    )
    if not foreign and raw.find(b'"messages"') >= 0:
        call = chat.parse(raw)
        tools = call.body.get("tools")
        if tools and any("function" not in tool and "custom" not in tool for tool in tools):
            call.body["tools"] = chat_tools(tools)
        return call
    return chat.parse(orjson.dumps(to_chat_body(object_of(raw))))
