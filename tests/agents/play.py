"""The script: what the model says to a tool's first turn, and what it says once the tool has been run.

The proof that a tool ran is a number that no prompt holds: six times seven, which only a shell or a function
works out. How each vendor says it is tests/scenes.py's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.scenes import Scene

ASKED: Final = "Work out the marker"  # a prompt with these words is answered with a tool call first
EDIT: Final = "Write the marker"  # a prompt with these words is answered with a file, as aider wants it
DONE: Final = "ran-42"
PHRASE: Final = "the kettle is quiet"
MARKER_FILE: Final = "marker.txt"
SEAL: Final = "c2VhbGVkLXRob3VnaHQ="
_COMMAND: Final = f"echo ran-$((6*7)) | tee {MARKER_FILE}"
# How each tool's own tool is called.
_SHELLS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Bash": {"command": _COMMAND, "description": "Work out the marker"},
    "bash": {"command": _COMMAND, "description": "Work out the marker"},
    "exec_command": {"cmd": _COMMAND},
    "shell_command": {"command": _COMMAND},
    "shell": {"command": ["bash", "-c", _COMMAND]},
    "run_commands": {"commands": [_COMMAND]},
    "multiply": {"a": 6, "b": 7},
}
_FORCED: Final = {"location": "Paris"}
_FORCING: Final = ("required", {"type": "any"}, {"functionCallingConfig": {"mode": "ANY"}})


def _tools(found: Any) -> Iterator[str]:
    """The names of a request's tools, wherever each vendor puts them."""
    for tool in found or ():
        own = tool.get("function") or tool
        if own.get("name"):
            yield str(own["name"])
        yield from _tools(tool.get("functionDeclarations") or tool.get("tools"))


def _call(name: str, given: Mapping[str, Any]) -> Scene:
    call = ("call_1", name, json.dumps(given))
    return Scene(text="One moment.", thinking="A tool knows.", seal=SEAL, calls=(call,), reasoning=11)


def _said(body: dict[str, Any]) -> Scene:
    text, tools = json.dumps(body), list(_tools(body.get("tools")))
    if DONE in text:
        return Scene(text=f"{PHRASE}, {DONE}")
    if ASKED in text and (shells := [name for name in tools if name in _SHELLS]):
        return _call(shells[0], _SHELLS[shells[0]])
    if tools and (body.get("tool_choice") or body.get("toolConfig")) in _FORCING:
        return _call(tools[0], _FORCED)
    if '"json_schema"' in text or '"responseJsonSchema"' in text:
        return Scene(text=json.dumps({"said": PHRASE}))
    if EDIT in text:
        return Scene(text=f"{PHRASE}\n\n{MARKER_FILE}\n```\n{DONE}\n```\n")
    return Scene(text=PHRASE)


@dataclass
class Actor:
    """Plays every vendor. told: what it has said, in order, each with figures of its own."""

    told: list[Scene] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # vendors answer in threads

    def __call__(self, dialect: str, body: dict[str, Any]) -> Scene:
        with self._lock:
            number = len(self.told)
            said = replace(_said(body), input=1_000 + 17 * number, cached=300 + number, output=50 + 3 * number)
            self.told.append(said)
        return said
