"""The house rules as pure functions: a parsed file in, a list of findings out ("path:line: what is wrong").

STYLE.md names the rules, tests/test_tidy.py runs them over the tree and proves each on a small bad snippet. A
rule judges the syntax tree, never a file's formatting: that is the formatter's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

PACKAGE: Final = "perquery"
FUNCTION_LINES: Final = 50
FUNCTION_LINES_MOST: Final = 70
FILE_LINES: Final = 500
PROTOCOL_VERBS: Final = 3
EVERYTHING: Final = frozenset({"*"})
OPEN: Final = frozenset({"errors", "money", "config", "calls", "later"})
MAY_IMPORT: Final[Mapping[str, frozenset[str]]] = {
    "errors": frozenset(),
    "money": frozenset(),
    "config": frozenset({"errors", "money"}),
    "calls": frozenset({"errors", "money"}),
    "later": frozenset(),
    "rounds": frozenset(),
    "outbound": OPEN | {"rounds"},
    "media": OPEN,
    "catalog": OPEN | {"media"},
    "dialects": OPEN | {"media"},
    "logs": frozenset(),
    "store": OPEN,
    "providers": OPEN | {"outbound", "catalog", "dialects"},
    "nwc": OPEN | {"outbound"},
    "rails": OPEN | {"outbound", "nwc"},
    "payouts": OPEN | {"outbound", "rails"},
    "refunds": OPEN | {"store", "payouts", "rails", "rates"},
    "rates": OPEN | {"outbound"},
    "accounts": OPEN | {"store"},
    "webhooks": OPEN | {"outbound", "store"},
    "callbacks": OPEN | {"outbound", "store", "webhooks"},
    "metering": OPEN | {"store", "accounts", "providers", "catalog", "dialects", "media"},
    "topups": OPEN | {"store", "accounts", "rails", "rates", "nwc"},
    "autotopup": OPEN | {"store", "accounts", "rails", "topups", "nwc"},
    "routes": OPEN
    | {"accounts", "metering", "topups", "autotopup", "refunds", "rates", "catalog", "dialects", "store.queries"},
    "own_key": OPEN,
    "web": OPEN
    | {"accounts", "metering", "topups", "autotopup", "refunds", "rates", "catalog", "dialects", "store.queries"}
    | {"routes", "own_key", "store.takings", "store.sessions", "store.passkeys"},
    "app": EVERYTHING,
    "cli": EVERYTHING,
    "__init__": frozenset(),
    "__main__": EVERYTHING,
}
MONEY_PLACES: Final = ("money", "store", "metering", "topups", "autotopup", "refunds", "catalog.price")
BANNED_WORDS: Final = frozenset({"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"})
MUTABLE_CALLS: Final = frozenset({"list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict"})
MUTATORS: Final = frozenset(
    {"append", "add", "update", "pop", "popitem", "clear", "extend", "insert", "remove", "discard", "setdefault"}
)
# In pieces, so that this file does not trip over itself.
LEFTOVERS: Final = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
HOSTS: Final = re.compile(
    "|".join(
        (r"pypi\." + "org", "python" + "hosted", r"npmjs\." + "(org|com)", r"deb\." + "debian", "index" + "-url=?http")
    )
)
MACHINE_PATHS: Final = re.compile(r"(?<![\w.~-])/(" + "|".join(("work", "root", "Users", "home")) + r")/\w")

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Rule: TypeAlias = Callable[["Source"], Iterable[str]]


@dataclass(frozen=True)
class Source:
    """A Python file. module: dotted, within the package ("store.ledger"), or "" outside of it."""

    path: str
    text: str
    tree: ast.Module
    module: str = ""

    @property
    def entry(self) -> str:
        return self.module.partition(".")[0]

    def at(self, node: ast.AST, what: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


def source(path: str, text: str) -> Source:
    """Parse one file; `path` is relative to the root of the project."""
    parts = Path(path).with_suffix("").parts
    inside = parts[:2] == ("src", PACKAGE)
    names = parts[2:-1] if parts[-1] == "__init__" and len(parts) > 3 else parts[2:]
    return Source(path, text, ast.parse(text), ".".join(names) if inside else "")


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _imported(file: Source, node: ast.stmt) -> Iterator[str]:
    """The modules of the package that a statement imports, dotted, without the package's own name."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        names = [f"{base}.{alias.name}" for alias in node.names]
    else:
        return
    yield from (name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}."))


def _within(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def layers(file: Source) -> Iterator[str]:
    """A module imports only what the table allows its entry, and its own package."""
    if not file.module:
        return
    allowed = MAY_IMPORT.get(file.entry)
    if allowed is None:
        yield f"{file.path}:1: `{file.entry}` is not in the table of layers"
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield file.at(node, "a relative import; write the full name")
        if not isinstance(node, ast.stmt) or allowed is EVERYTHING:
            continue
        for name in _imported(file, node):
            own = _within(name, [file.entry])
            if not own and name != "__version__" and not _within(name, allowed):
                yield file.at(node, f"`{file.entry}` may not import `{name}`")


def function_lines(file: Source, longer: frozenset[str] = frozenset()) -> Iterator[str]:
    """No function above 50 lines; up to 70 where STYLE.md names it ("path:function") with a reason.

    A migration is a list of statements, written once: it may be as long as it must.
    """
    if file.module.startswith("store.migrations.versions."):
        return
    for node in functions(file.tree):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        most = FUNCTION_LINES_MOST if f"{file.path}:{node.name}" in longer else FUNCTION_LINES
        if lines > most:
            yield file.at(node, f"`{node.name}` has {lines} lines, at most {most}")


def file_lines(file: Source) -> Iterator[str]:
    lines = file.text.count("\n")
    if lines > FILE_LINES:
        yield f"{file.path}:{lines}: {lines} lines, at most {FILE_LINES}"


def module_docstring(file: Source) -> Iterator[str]:
    """Every module of the package says what it owns."""
    if file.module and file.tree.body and ast.get_docstring(file.tree) is None:
        yield f"{file.path}:1: no docstring that says what this module owns"


def protocol_verbs(file: Source) -> Iterator[str]:
    """A seam has at most three verbs; properties are data. (A Writer: STYLE.md.)"""
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.ClassDef) or not any(ast.unparse(base) == "Protocol" for base in node.bases):
            continue
        methods = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
        verbs = [item.name for item in methods if "property" not in map(ast.unparse, item.decorator_list)]
        if node.name != "Writer" and len(verbs) > PROTOCOL_VERBS:
            yield file.at(node, f"Protocol `{node.name}` has {len(verbs)} verbs, at most {PROTOCOL_VERBS}")


def imports_in_functions(file: Source) -> Iterator[str]:
    for function in functions(file.tree):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield file.at(node, f"an import inside `{function.name}`")


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else []


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] in MUTABLE_CALLS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def _is_empty(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return not value.args or _is_mutable(value)
    return not any(True for _ in ast.iter_child_nodes(value) if not isinstance(_, ast.Load)) if value else True


def _constant_name(name: str) -> bool:
    return name.isupper() or (name.startswith("__") and name.endswith("__"))


def module_state(file: Source) -> Iterator[str]:
    """No mutable value at module level but filled tables with an UPPER_CASE name, which nobody changes."""
    tables = set()
    for node in file.tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not _is_mutable(node.value):
            continue
        for name in (ast.unparse(target) for target in _targets(node)):
            tables.add(name)
            if not _constant_name(name) or (_is_empty(node.value) and not name.startswith("__")):
                yield file.at(node, f"`{name}` is mutable state of the module")
    for part in ast.walk(file.tree):
        if isinstance(part, ast.Global):
            yield file.at(part, "`global`: state belongs to an object")
        if (changed := _changed(part)) in tables:
            yield file.at(part, f"`{changed}` is a table: nobody changes it")


def _changed(node: ast.AST) -> str | None:
    """The name whose value this statement or call changes in place, if it is such a one."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        return ast.unparse(node.func.value)
    if isinstance(node, ast.stmt):
        for target in [*_targets(node), *(node.targets if isinstance(node, ast.Delete) else [])]:
            if isinstance(target, ast.Subscript):
                return ast.unparse(target.value)
    return None


def _own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement that belong to no statement within it."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt))


def _names(node: ast.AST) -> str:
    for field in ("id", "attr", "arg", "name"):
        if isinstance(value := getattr(node, field, None), str):
            return value
    return ""


def floats(file: Source) -> Iterator[str]:
    """Where money passes, no float and no `/`, but in a statement about seconds (it names an `…_s`)."""
    if not _within(file.module, MONEY_PLACES) or not file.module:
        return
    for statement in (node for node in ast.walk(file.tree) if isinstance(node, ast.stmt)):
        nodes = list(_own_nodes(statement))
        if any(_names(node).lower().endswith(("_s", "seconds")) for node in nodes):
            continue
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                yield file.at(node, f"a float, {node.value}, where money passes")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "float":
                yield file.at(node, "float(), where money passes")
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not _joins_paths(node):
                yield file.at(node, "`/` makes a float, where money passes")


def _joins_paths(node: ast.BinOp) -> bool:
    return any(isinstance(side, ast.JoinedStr) or _is_text(side) for side in (node.left, node.right))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def broad_excepts(file: Source) -> Iterator[str]:
    """Everything is caught only to be raised again, at the top of a background loop, or by the last error handler
    of the paid routes (`app.Hot`); the latter two log it.
    """
    loops: list[ast.While | ast.AsyncFunctionDef] = [
        node for node in ast.walk(file.tree) if isinstance(node, ast.While)
    ]
    if file.module == "app":
        loops += [
            node for node in ast.walk(file.tree) if isinstance(node, ast.AsyncFunctionDef) and node.name == "__call__"
        ]
    at_top = {handler for loop in loops for node in loop.body for handler in getattr(node, "handlers", ())}
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = {ast.unparse(part) for part in ast.walk(node.type)} if node.type else {"Exception"}
        if not caught & {"Exception", "BaseException"}:
            continue
        raised = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        calls = [ast.unparse(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)]
        logged = any(call.endswith(".exception") for call in calls)
        if not raised and not (node in at_top and logged):
            yield file.at(node, "catches everything outside the top of a background loop")


def _words(name: str) -> set[str]:
    return set(re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().split("_"))


def names(file: Source) -> Iterator[str]:
    """No module, class or function is named for being handy."""
    for part in Path(file.path).with_suffix("").parts:
        if _words(part) & BANNED_WORDS:
            yield f"{file.path}:1: `{part}` says nothing; name it for what it owns"
    for node in ast.walk(file.tree):
        named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if named and _words(_names(node)) & BANNED_WORDS:
            yield file.at(node, f"`{_names(node)}` says nothing; name it for what it does")


def environment(file: Source) -> Iterator[str]:
    """Only `config` reads the environment; a value may be set there for a library that looks nowhere else."""
    if file.module in ("", "config"):
        return
    set_there = {
        id(node.value)
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(file.tree):
        if id(node) in set_there:
            continue
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv"):
            yield file.at(node, "reads the environment; only `config` does")


def waiting_tests(file: Source) -> Iterator[str]:
    """Tests wait for events, never for time (sleep(0) only yields), and replace no code of ours by a mock."""
    if not file.path.startswith("tests/"):
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and "mock" in ast.unparse(node).split()[1]:
            yield file.at(node, "a mock")
        call = ast.unparse(node) if isinstance(node, ast.Call) else ""
        if call.partition("(")[0].rpartition(".")[2] == "sleep" and not call.endswith("(0)"):
            yield file.at(node, "a test that sleeps")


PYTHON_RULES: Final[tuple[Rule, ...]] = (
    layers,
    file_lines,
    module_docstring,
    protocol_verbs,
    imports_in_functions,
    module_state,
    floats,
    broad_excepts,
    names,
    environment,
    waiting_tests,
)


def text_findings(path: str, text: str) -> Iterator[str]:
    """What no file of any kind may hold: leftovers, package indexes' hosts, paths of one machine."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, what in ((LEFTOVERS, "a leftover"), (HOSTS, "an index host"), (MACHINE_PATHS, "a machine's path")):
            if found := pattern.search(line):
                yield f"{path}:{number}: {what}: {found.group()}"


def longer_functions(style: str) -> frozenset[str]:
    """The functions that STYLE.md allows 70 lines: its list items "- `path:function`: why" under that heading."""
    section = style.partition("## Longer functions")[2].partition("\n## ")[0]
    return frozenset(re.findall(r"^- `([^`]+:\w+)`: \S", section, re.MULTILINE))
