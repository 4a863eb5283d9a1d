"""Where the tools play: an empty home and project each, and nothing outside of this machine to talk to.

It owns how each tool is found, set up and called. It must never read a setting of the machine's user.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from tests.agents.play import ASKED, DONE, EDIT, MARKER_FILE, PHRASE

ROOT: Final = Path(__file__).parents[2]
AGENTS: Final = ROOT / ".agents"  # make test-slow fills it
DRIVERS: Final = Path(__file__).with_name("drivers")
LIMIT_S: Final = 120.0
_NODE: Final = Path(shutil.which("node") or "/usr/bin/node")
_NPM: Final = AGENTS / "npm" / "node_modules"
_NOWHERE: Final = "http://127.0.0.1:9"  # a proxy that nobody runs: calls home fail at once


@dataclass(frozen=True)
class Run:
    """One run of a tool: where, against what. home and project: fresh folders."""

    base_url: str
    key: str
    model: str
    home: Path
    project: Path


Command: TypeAlias = tuple[list[str | Path], dict[str, str]]


@dataclass(frozen=True)
class Tool:
    """command: what to run, and what to put into its environment. file: the program, as it was installed.

    shows: what it prints. leaves: whether it leaves the marker in a file of its project. seals: whether it sends a
    thought back with the seal that it came with.
    """

    name: str
    file: Path
    command: Callable[[Run], Command]
    shows: tuple[str, ...] = (PHRASE, DONE)
    leaves: bool = False
    seals: bool = False


@dataclass(frozen=True)
class Ended:
    status: int
    output: str


def _claude(run: Run) -> Command:
    quiet = ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY")
    models = [f"ANTHROPIC_{name}MODEL" for name in ("", "DEFAULT_HAIKU_", "DEFAULT_SONNET_", "DEFAULT_OPUS_")]
    command: list[str | Path] = [_NODE, _CLAUDE, "-p", f"{ASKED}.", "--allowedTools", "Bash"]
    address = {"ANTHROPIC_BASE_URL": run.base_url, "ANTHROPIC_AUTH_TOKEN": run.key}
    return command, address | dict.fromkeys(quiet, "1") | dict.fromkeys(models, run.model)


def _codex(run: Run) -> Command:
    folder = run.home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(f"""
        model = "{run.model}"
        model_provider = "gateway"
        check_for_update_on_startup = false
        [analytics]
        enabled = false
        [model_providers.gateway]
        name = "Gateway"
        base_url = "{run.base_url}/v1"
        env_key = "GATEWAY_KEY"
        wire_api = "responses"
        """)
    # The sandbox of its own needs more of the kernel than a container gives; this project is a folder of the test.
    words = ["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", f"{ASKED}."]
    return [_NODE, _CODEX, *words], {"GATEWAY_KEY": run.key, "CODEX_HOME": str(folder)}


def _aider(run: Run) -> Command:
    off = ("git", "check-update", "show-model-warnings", "auto-commits", "pretty", "detect-urls", "show-release-notes")
    words = ["--model", f"openai/{run.model}", "--weak-model", f"openai/{run.model}", "--edit-format", "whole"]
    words += ["--yes-always", "--analytics-disable", "--map-tokens", "0", "--message", f"{EDIT}."]
    command: list[str | Path] = [_AIDER, *words, *(f"--no-{name}" for name in off), MARKER_FILE]
    address = {"OPENAI_API_BASE": run.base_url + "/v1", "OPENAI_API_KEY": run.key}
    return command, address | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def _driver(program: Path | str, file: str) -> Callable[[Run], Command]:
    def command(run: Run) -> Command:
        script = DRIVERS / file
        if script.suffix == ".mjs":  # it finds its packages beside itself
            script = AGENTS / "npm" / file
            shutil.copyfile(DRIVERS / file, script)
        return [program, script, run.base_url, run.key, run.model, f"{ASKED}."], {}

    return command


def _comply(shape: str, *words: str) -> Callable[[Run], Command]:
    def command(run: Run) -> Command:
        where = ["run", "-u", run.base_url + "/v1", "-k", run.key, "-m", run.model, "--format", shape]
        return [_COMPLY, *where, *words], {}

    return command


_PYTHON: Final = Path(sys.executable)
_CLAUDE: Final = _NPM / "@anthropic-ai/claude-code/cli-wrapper.cjs"
_CODEX: Final = _NPM / "@openai/codex/bin/codex.js"
_AIDER: Final = AGENTS / "venv/bin/aider"
_COMPLY: Final = AGENTS / "venv/bin/llm-comply"
_AS_ANTHROPIC: Final = ("--auth-header", "x-api-key", "--no-bearer", "-H", "anthropic-version:2023-06-01")
TOOLS: Final = (
    Tool("claude", _CLAUDE, _claude, leaves=True, seals=True),
    Tool("codex", _CODEX, _codex, leaves=True, seals=True),
    Tool("aider", _AIDER, _aider, (PHRASE,), leaves=True),
    Tool("openai-python", _PYTHON, _driver(_PYTHON, "openai_sdk.py")),
    Tool("anthropic-python", _PYTHON, _driver(_PYTHON, "anthropic_sdk.py")),
    Tool("openai-npm", _NPM / "openai", _driver(_NODE, "openai.mjs")),
    Tool("anthropic-npm", _NPM / "@anthropic-ai/sdk", _driver(_NODE, "anthropic.mjs")),
    Tool("comply-chat", _COMPLY, _comply("openai-chat"), ()),
    Tool("comply-responses", _COMPLY, _comply("open-responses"), ()),
    Tool("comply-anthropic", _COMPLY, _comply("anthropic", *_AS_ANTHROPIC), ()),
)


def missing(tool: Tool) -> str:
    """Why a tool cannot be there on this machine, or "" where it has to be."""
    if tool.name == "aider" and sys.version_info >= (3, 13):
        return "aider has no release for this Python"
    if _NPM in tool.file.parents and not shutil.which("npm"):
        return "there is no npm: on Debian, apt-get install nodejs npm"
    return ""


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    fixed = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    return fixed | dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _NOWHERE) | dict(more)


async def played(tool: Tool, run: Run) -> Ended:
    """Run it to its end, its whole output in one text."""
    assert tool.file.exists(), f"{tool.name} is not installed: make test-slow does that"
    command, more = tool.command(run)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=run.project,
        env=environment(run.home, more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Ended(process.returncode, said.decode("utf-8", "replace"))
