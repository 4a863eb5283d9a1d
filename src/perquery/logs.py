"""Structured logs: one JSON object a line on standard error, written by a thread of their own.

It must never hold a prompt, an answer, a key or a credit id; messages are ours, arguments are names and numbers.
"""

from __future__ import annotations

import atexit
import json
import logging
import queue
import re
import sys
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener

_SECRET = re.compile(r"sk-[A-Za-z0-9_-]{8,}|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)


class JsonLines(logging.Formatter):
    """time, level, logger, message and, for errors, where it happened; secrets are cut out."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _SECRET.sub("[redacted]", record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = _SECRET.sub("[redacted]", self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure(level: str) -> None:
    """Send all logs of this process through one queue, so that no request waits for a slow terminal."""
    target = logging.StreamHandler(sys.stderr)
    target.setFormatter(JsonLines())
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = QueueListener(waiting, target)
    listener.start()
    atexit.register(listener.stop)
    logging.basicConfig(level=level.upper(), handlers=[_Handler(waiting)], force=True)


class _Handler(QueueHandler):
    """Keeps the exception for the formatter, which the standard one flattens into the message."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record
