"""A service made of plain functions, for what a real one does rarely: fail, break off, lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

JOB_ID = "job_01JD0000000000000000000000"
Answer = httpx.Response | Exception


class Script:
    """Answers requests to a path one after the other; the last answer is repeated."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self._answers: dict[tuple[str, str], list[Answer | Callable[[httpx.Request], Answer]]] = {}

    def on(self, method: str, path: str, *answers: Answer | Callable[[httpx.Request], Answer]) -> None:
        self._answers[method, path] = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answers = self._answers.get((request.method, request.url.path))
        if answers is None:
            return problem(404, "not_found", f"There is no {request.url.path}.")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def seen(self, method: str, path: str) -> list[httpx.Request]:
        return [entry for entry in self.requests if (entry.method, entry.url.path) == (method, path)]


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"type": f"/problems/{code}", "title": code, "status": status, "detail": detail, "code": code, **more}
    content_type = {"content-type": "application/problem+json"}
    return httpx.Response(status, content=json.dumps(body), headers=content_type | (headers or {}))


def job(state: str = "running", **more: Any) -> dict[str, Any]:
    return {"id": JOB_ID, "object": "job", "state": state, "spec": {"training": {"epochs": 2}}, **more}


def event(seq: int, type_: str = "metric", **data: Any) -> dict[str, Any]:
    return {"object": "event", "seq": seq, "type": type_, "data": data, "created_at": "2026-01-02T03:04:05Z"}


def stream(*events: dict[str, Any], end: bool = False) -> httpx.Response:
    text = ": ping\n\n" + "".join(
        f"id: {entry['seq']}\nevent: {entry['type']}\ndata: {json.dumps(entry)}\n\n" for entry in events
    )
    if end:
        text += 'event: end\ndata: {"object": "end", "state": "succeeded"}\n\n'
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})
