"""The dialects that callers speak: how each is parsed, how it is answered, and how it is told of errors. Data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from perquery import errors
from perquery.calls import Call, Writer
from perquery.dialects import completions, messages_in, mixed, responses_in
from perquery.dialects.chat_out import ChatWriter
from perquery.dialects.completions import CompletionsWriter
from perquery.dialects.messages_out import MessagesWriter
from perquery.dialects.responses_out import ResponsesWriter


@dataclass(frozen=True, slots=True)
class Shape:
    """parse: body → Call, or BadRequest. writer: made for each request, from its call and the generation's id.

    forward: the caller's headers that an upstream of the same dialect is to see. websocket: callers try one with GET.
    """

    parse: Callable[[bytes], Call]
    writer: Callable[[Call, str], Writer]
    errors: errors.Shape
    forward: tuple[bytes, ...] = ()
    websocket: bool = False


CHAT: Final = Shape(mixed.parse, ChatWriter, "openai")
MESSAGES: Final = Shape(
    messages_in.parse, MessagesWriter, "anthropic", forward=(b"anthropic-beta", b"anthropic-version")
)
COUNT: Final = Shape(messages_in.count, MessagesWriter, "anthropic")
RESPONSES: Final = Shape(responses_in.parse, ResponsesWriter, "openai", websocket=True)
COMPLETIONS: Final = Shape(completions.parse, CompletionsWriter, "openai")
