"""The dialects that callers speak: how each is parsed, how it is answered, and how it is told of errors. Data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from perquery import errors
from perquery.calls import Call, Writer
from perquery.dialects import chat
from perquery.dialects.chat_out import ChatWriter


@dataclass(frozen=True, slots=True)
class Shape:
    """parse: body → Call, or BadRequest. writer: made for each request, from its call and the generation's id."""

    parse: Callable[[bytes], Call]
    writer: Callable[[Call, str], Writer]
    errors: errors.Shape


CHAT: Final = Shape(chat.parse, ChatWriter, "openai")
