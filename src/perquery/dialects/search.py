"""The wish for web search, in every way that callers say it, and as each upstream's own search is told. Pure.

A plugin demands a search. A tool leaves it to the model, but where it is the only tool, or the one that must be
called: Claude Code and its like ask for a search so. Sources: OpenRouter's web plugin, the vendors' tool references.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from perquery.calls import Search, Source
from perquery.dialects.fields import is_count, require

RESULTS: Final = 5
RESULTS_MAX: Final = 25
USES: Final = 5
USES_MAX: Final = 10
_TOOLS: Final = ("web_search", "openrouter:web_search")  # and with a date behind
_CONTEXTS: Final = ("low", "medium", "high")


PLAIN: Final = Search(demanded=True, results=RESULTS, uses=USES)  # of a model's name that ends in :online


def is_search(tool: Any) -> bool:
    """Whether a tool is a vendor's web search."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind.startswith(_TOOLS)


def of_tools(tools: Iterable[Any], choice: Any) -> Search | None:
    """The wish of a list of tools; None where none of them is a search."""
    given = [tool for tool in tools if isinstance(tool, dict)]
    wanted = next((tool for tool in given if is_search(tool)), None)
    if wanted is None:
        return None
    found = {**wanted, **_object(wanted.get("parameters")), **_object(wanted.get("filters"))}
    named = choice.get("name") or choice.get("type") if isinstance(choice, dict) else None
    forced = isinstance(named, str) and named.startswith(_TOOLS)
    return _search(found, demanded=forced or len(given) == 1)


def of_plugins(plugins: Iterable[Any]) -> Search | None:
    """The wish of OpenRouter's `web` plugin."""
    for plugin in plugins:
        if isinstance(plugin, dict) and plugin.get("id") == "web" and plugin.get("enabled") is not False:
            within, without = plugin.get("include_domains"), plugin.get("exclude_domains")
            return _search({**plugin, "allowed_domains": within, "blocked_domains": without}, demanded=True)
    return None


def of_options(options: Mapping[str, Any]) -> Search:
    """The wish of `web_search_options`."""
    place = _object(options.get("user_location"))
    return _search({**options, "user_location": _object(place.get("approximate")) or place}, demanded=True)


def _search(found: Mapping[str, Any], *, demanded: bool) -> Search:
    results = found.get("max_results")
    require(results is None or (is_count(results) and results <= RESULTS_MAX), "max_results", f"1 to {RESULTS_MAX}")
    uses: Any = found.get("max_uses")
    place = {name: value for name, value in _object(found.get("user_location")).items() if isinstance(value, str)}
    return Search(
        demanded,
        results or RESULTS,
        min(uses, USES_MAX) if is_count(uses) else USES,
        found["search_context_size"] if found.get("search_context_size") in _CONTEXTS else None,
        _domains(found.get("allowed_domains")),
        _domains(found.get("blocked_domains") or found.get("excluded_domains")),
        place,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _domains(given: Any) -> tuple[str, ...]:
    return tuple(one for one in given if isinstance(one, str)) if isinstance(given, list) else ()


# -- as upstreams are told --------------------------------------------------------------------------------------


def anthropic_tool(search: Search) -> dict[str, Any]:
    """Anthropic's takes one list of domains, or the other."""
    domains = {"allowed_domains": list(search.allowed)} if search.allowed else {}
    if search.blocked and not domains:
        domains = {"blocked_domains": list(search.blocked)}
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": search.uses, **domains}
    return tool | _place(search)


def responses_tool(search: Search) -> dict[str, Any]:
    """Responses' takes domains to stay within, none to avoid."""
    tool: dict[str, Any] = {"type": "web_search"}
    if search.context:
        tool["search_context_size"] = search.context
    if search.allowed:
        tool["filters"] = {"allowed_domains": list(search.allowed)}
    return tool | _place(search)


def options(search: Search) -> dict[str, Any]:
    """`web_search_options`, of chat models that search whatever they are asked."""
    place = {"type": "approximate", "approximate": dict(search.place)}
    sized = {"search_context_size": search.context} if search.context else {}
    return sized | ({"user_location": place} if search.place else {})


def _place(search: Search) -> dict[str, Any]:
    return {"user_location": {"type": "approximate", **search.place}} if search.place else {}


# -- what our own search found ----------------------------------------------------------------------------------

_TEXT_MAX: Final = 1_200
_WORD: Final = (
    "A web search was conducted on {day}. Incorporate the following web search results into your response.\n"
    "IMPORTANT: Cite them using markdown links named using the domain of the source.\n"
    "Example: [nytimes.com](https://nytimes.com/some-page)."
)


def question_in(messages: Iterable[Mapping[str, Any]]) -> str:
    """What to search for: the text of the last message of the user's."""
    for message in reversed(list(messages)):
        if message.get("role") == "user":
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            text = " ".join(part["text"] for part in parts if isinstance(_object(part).get("text"), str)).strip()
            return text[-2_000:]
    return ""


def told(messages: list[dict[str, Any]], sources: Iterable[Source], day: str) -> list[dict[str, Any]]:
    """The messages with what was found, in front of the user's last one."""
    found = [f"[{source.title or source.url}]({source.url})\n{source.text[:_TEXT_MAX]}" for source in sources]
    said = {"role": "system", "content": "\n\n".join([_WORD.format(day=day), *found])}
    place = max((number for number, one in enumerate(messages) if one.get("role") == "user"), default=len(messages))
    return [*messages[:place], said, *messages[place:]]


def words(results: int) -> int:
    """UTF-8 bytes of what is told, at most: for what is held."""
    return len(_WORD) + results * (4 * _TEXT_MAX + 2_000)


class Citations:
    """The sources of our search, with the places where an answer links to them. It keeps what was said, to know where;
    it must never hold an event back.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = tuple(sources)
        self._said: dict[int, list[str]] = {}  # by choice

    def cited(self, answer: dict[str, Any]) -> dict[str, Any] | None:
        """A chunk or a completion with the sources, where a choice ends; None where it is to stay as it is."""
        choices = answer.get("choices") or ()
        for choice in choices:
            text = (choice.get("message") or choice.get("delta") or {}).get("content")
            if isinstance(text, str):
                self._said.setdefault(choice.get("index") or 0, []).append(text)
        if not self._sources or not any(choice.get("finish_reason") for choice in choices):
            return None
        return answer | {"choices": [self._noted(choice) for choice in choices]}

    def _noted(self, choice: dict[str, Any]) -> dict[str, Any]:
        if not choice.get("finish_reason"):
            return choice
        text = "".join(self._said.get(choice.get("index") or 0, ()))
        notes = [_note(source, text) for source in self._sources]
        part = "message" if "message" in choice else "delta"
        holder = choice.get(part) or {}
        return choice | {part: holder | {"annotations": [*(holder.get("annotations") or ()), *notes]}}


def _note(source: Source, text: str) -> dict[str, Any]:
    """A source, and the first link to it in the text; 0 and 0 where there is none."""
    start, end, link = 0, 0, f"]({source.url})"
    if (at := text.find(link)) >= 0:
        start, end = max(0, text.rfind("[", 0, at)), at + len(link)
    found = {"url": source.url, "title": source.title, "content": source.text, "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": found}
