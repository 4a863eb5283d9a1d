"""A module that not every gateway needs, and that is large: it is loaded when something of it is first used.

Where it is imported, the type checker sees the import and the program this:

    if TYPE_CHECKING:
        import library
    else:
        library = Later("library")

It must never stand for what each request needs.
"""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """The module of that name, as far as its attributes go. Using it raises what importing it raises.

    The first use takes as long as the import: not something for the event loop.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
