"""The one HTTP client for all that leaves the process."""

from perquery.outbound.client import Client
from perquery.outbound.connection import Response
from perquery.outbound.errors import Kind, OutboundError
from perquery.outbound.guard import refused_address
from perquery.outbound.lines import Lines
from perquery.outbound.websocket import WebSocket

__all__ = ["Client", "Kind", "Lines", "OutboundError", "Response", "WebSocket", "refused_address"]
