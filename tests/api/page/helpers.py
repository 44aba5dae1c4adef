"""What the tests of the page do in it, and how much they train."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import httpx
from playwright.sync_api import Page, expect

PICTURES = os.environ.get("FQT_PICTURES")
NETWORK: dict[str, Any] = {"name": "convnet", "width": 0.5, "image_size": 16, "channels": 1, "shortcuts": True}
EPOCHS = 12 if PICTURES else 2
REFUSED = "Failed to load resource: the server responded with a status of 4"
BROKEN_OFF = ("net::ERR_", "status of 503")
SOON = 30_000


def state_is(page: Page, state: str) -> None:
    expect(page.locator("#state")).to_have_text(state, timeout=SOON)


def points_of(page: Page, title: str = "Loss") -> int:
    plot = page.locator(".chart", has=page.get_by_role("heading", name=title, exact=True)).locator(".plot")
    return int(plot.get_attribute("data-points") or 0)


def wait_for_points(page: Page, least: int) -> int:
    deadline = time.monotonic() + SOON / 1000
    while (points := points_of(page)) < least:
        assert time.monotonic() < deadline, f"{points} points, {least} wanted"
        page.wait_for_timeout(100)
    return points


def wait_for_success(client: httpx.Client, job_ids: Sequence[str]) -> None:
    """Wait until jobs have succeeded: processes start and share a machine that others use too."""
    deadline = time.monotonic() + (800 if PICTURES else 240)
    while {client.get(f"/v1/jobs/{job_id}").json()["state"] for job_id in job_ids} != {"succeeded"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def drop(page: Page, name: str, content: bytes, zone: str = "drop") -> None:
    """Drop a file on the page, as the browser tells it."""
    script = """([name, bytes, zone]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], name));
        for (const kind of ["dragover", "drop"]) {
            const event = new DragEvent(kind, { dataTransfer: transfer, bubbles: true });
            document.getElementById(zone).dispatchEvent(event);
        }
    }"""
    page.wait_for_selector(f"#{zone}")
    page.evaluate(script, [name, list(content), zone])
