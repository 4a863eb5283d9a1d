"""Scripted makers of images and videos: fal's queue, Google, xAI and OpenAI, each in its real protocol, errors too.

What a prompt begins with decides what becomes of it: "fail" is refused by the model, "moderated" is held back, "slow"
stands where it is until the test lets it go on. It must never import the package that it tests.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from tests.workshop import Made, Order

PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MP4: Final = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + b"\x00\x00\x00\x08free" * 4
_FAL: Final = re.compile(r"/([^?]+?)/requests/([^/?]+)(/status|/cancel)?")


@dataclass
class Begun:
    """One request of fal's, Google's or xAI's. looks: how often it was looked at; free: whether it may end."""

    id: str
    model: str
    body: dict[str, Any]
    free: bool = True
    looks: int = 0
    cancelled: bool = False

    @property
    def prompt(self) -> str:
        return str(self.body.get("prompt") or self.body.get("instances", [{}])[0].get("prompt"))


@dataclass
class Makers:
    """What was begun, in order, and how it is answered. free: whether anything ends at all; troubled: nothing
    is answered but 502. refuse: the next
    submissions are answered so.
    """

    free: bool = False
    troubled: bool = False
    begun: list[Begun] = field(default_factory=list)
    refuse: list[Made] = field(default_factory=list)
    base_url: str = ""
    origin: str = ""
    fetched: list[Order] = field(default_factory=list)
    drawn: list[dict[str, Any]] = field(default_factory=list)
    file: bytes = MP4
    headers: dict[str, str] = field(default_factory=dict)

    def at(self, base_url: str) -> None:
        self.base_url = base_url
        self.origin = base_url.removesuffix("/v1")

    def __call__(self, order: Order) -> Made:
        path = order.path.removeprefix("/v1")
        if path.startswith("/files/"):
            self.fetched.append(order)
            return Made(self.file, kind="video/mp4") if path.endswith("mp4") else Made(PNG, kind="image/png")
        if order.method == "POST" and self.refuse:
            return self.refuse.pop(0)
        if self.troubled:
            return Made({"detail": "Bad gateway"}, 502)
        if path.startswith("/images/"):
            return self._openai_images(path, order)
        if path.startswith("/videos"):
            return self._xai_videos(path, order)
        if ":generateContent" in path:
            return self._gemini(order)
        if path.endswith(":predictLongRunning") or "/operations/" in path:
            return self._veo(path, order)
        return self._fal(path, order)

    def _begin(self, model: str, body: dict[str, Any]) -> Begun:
        made = Begun(f"job-{len(self.begun) + 1}", model, body)
        made.free = not made.prompt.startswith("slow")
        self.begun.append(made)
        return made

    def _of(self, id: str) -> Begun | None:
        return next((one for one in self.begun if one.id == id), None)

    def _is_done(self, one: Begun) -> bool:
        one.looks += 1
        return one.free and self.free

    # -- fal ------------------------------------------------------------------------------------------------------

    def _fal(self, path: str, order: Order) -> Made:
        found = _FAL.fullmatch(path)
        if found is None:
            one = self._begin(path.removeprefix("/"), order.body)
            where = f"{self.base_url}/{'/'.join(one.model.split('/')[:2])}/requests/{one.id}"
            urls = {"response_url": where, "status_url": f"{where}/status", "cancel_url": f"{where}/cancel"}
            return Made({"request_id": one.id, "status": "IN_QUEUE", "queue_position": 2, **urls})
        app, id, verb = found.groups()
        asked = self._of(id)
        if asked is None or app != "/".join(asked.model.split("/")[:2]):
            return Made({"detail": "Request not found"}, 404)
        if verb == "/cancel":
            asked.cancelled = True
            return Made({"status": "CANCELLATION_REQUESTED"}, 202)
        if verb == "/status":
            done = self._is_done(asked)
            word = "COMPLETED" if done or asked.cancelled else "IN_QUEUE" if asked.looks == 1 else "IN_PROGRESS"
            failed = {"error": "Request was cancelled", "error_type": "cancelled"} if asked.cancelled else {}
            return Made({"status": word, "request_id": id} | failed, 200 if word == "COMPLETED" else 202)
        return self._fal_result(asked)

    def _fal_result(self, one: Begun) -> Made:
        if one.prompt.startswith(("fail", "moderated")):
            kind = "content_policy_violation" if one.prompt.startswith("moderated") else "value_error"
            detail = [{"loc": ["body", "prompt"], "msg": "This prompt cannot be used.", "type": kind}]
            return Made({"detail": detail}, 422, {"x-fal-error-type": kind})
        if "video" in one.model:
            video = {
                "url": f"{self.origin}/files/{one.id}.mp4",
                "content_type": "video/mp4",
                "file_size": len(self.file),
            }
            return Made({"video": video, "seed": 1}, headers=self.headers)
        size = one.body.get("image_size") or {"width": 1024, "height": 1024}
        image = {"url": f"{self.origin}/files/{one.id}.png", "content_type": "image/png", **size}
        images = [image] * int(one.body.get("num_images") or 1)
        return Made({"images": images, "seed": 1, "has_nsfw_concepts": [False]}, headers=self.headers)

    # -- Google -----------------------------------------------------------------------------------------------------

    def _veo(self, path: str, order: Order) -> Made:
        if order.method == "POST":
            one = self._begin(path, order.body)
            return Made({"name": f"models/veo-3.1-generate-001/operations/{one.id}"})
        asked = self._of(path.rpartition("/")[2])
        if asked is None:
            return Made({"error": {"code": 404, "message": "Operation not found.", "status": "NOT_FOUND"}}, 404)
        head = {"name": path.removeprefix("/")}
        if not self._is_done(asked):
            return Made(head)
        if asked.prompt.startswith("fail"):
            return Made(head | {"done": True, "error": {"code": 3, "message": "The prompt is not allowed."}})
        inner: dict[str, Any] = {"generatedSamples": [{"video": {"uri": f"{self.origin}/files/{asked.id}.mp4"}}]}
        if asked.prompt.startswith("moderated"):
            inner = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["It was held back."]}
        return Made(head | {"done": True, "response": {"generateVideoResponse": inner}})

    def _gemini(self, order: Order) -> Made:
        self.drawn.append(order.body)
        prompt = order.body["contents"][0]["parts"][0]["text"]
        usage = {"promptTokenCount": 12, "candidatesTokenCount": 1_300, "totalTokenCount": 1_312}
        usage |= {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}]}  # type: ignore[dict-item]
        parts: list[Any] = [{"text": "Here."}, {"inlineData": {"mimeType": "image/png", "data": _text(PNG)}}]
        reason = "STOP"
        if prompt.startswith("moderated"):
            parts, reason = [{"text": "I cannot draw that."}], "IMAGE_SAFETY"
        candidate = {"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": reason}
        return Made({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"})

    # -- xAI and OpenAI ---------------------------------------------------------------------------------------------

    def _xai_videos(self, path: str, order: Order) -> Made:
        if order.method == "POST":
            return Made({"request_id": self._begin("xai", order.body).id})
        asked = self._of(path.rpartition("/")[2])
        if asked is None:
            return Made({"code": "not_found", "error": "No such request."}, 404)
        if not self._is_done(asked):
            return Made({"status": "pending", "progress": 40}, 202)
        if asked.prompt.startswith("fail"):
            return Made({"status": "failed", "error": {"code": "invalid", "message": "It could not be made."}})
        video = {"url": f"{self.origin}/files/{asked.id}.mp4", "duration": 6, "respect_moderation": True}
        if asked.prompt.startswith("moderated"):
            video = {"url": "", "duration": 0, "respect_moderation": False}
        return Made({"status": "done", "video": video, "model": "m", "usage": {"cost_in_usd_ticks": 4_200_000_000}})

    def _openai_images(self, path: str, order: Order) -> Made:
        self.drawn.append(order.body | {"path": path})
        if order.body["prompt"].startswith("moderated"):
            error = {"message": "Your request was rejected.", "type": "image_generation_user_error"}
            return Made({"error": error | {"param": None, "code": "moderation_blocked"}}, 400)
        count = int(order.body.get("n") or 1)
        if order.body["model"].startswith("grok"):
            wanted = order.body["response_format"]
            one = {"url": f"{self.origin}/files/x.png"} if wanted == "url" else {"b64_json": _text(PNG)}
            return Made({"data": [one] * count, "usage": {"cost_in_usd_ticks": 200_000_000 * count}})
        usage = {"input_tokens": 50, "output_tokens": 1_000 * count, "total_tokens": 50 + 1_000 * count}
        shown = 40 if path.endswith("edits") else 0
        usage |= {"input_tokens_details": {"text_tokens": 50 - shown, "image_tokens": shown}}  # type: ignore[dict-item]
        usage |= {"output_tokens_details": {"text_tokens": 0, "image_tokens": 1_000 * count}}  # type: ignore[dict-item]
        data = [{"b64_json": _text(PNG)}] * count
        return Made(
            {"created": 1_790_000_000, "data": data, "usage": usage, "output_format": "png", "size": "1024x1024"}
        )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def said(body: bytes) -> Any:
    return json.loads(body)
