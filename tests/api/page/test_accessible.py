"""axe-core finds nothing serious or critical in any view. The same walk makes the pictures of the documentation."""

from __future__ import annotations

import math
import time
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.api.browser import visiting
from tests.api.page.helpers import NETWORK, PICTURES, SOON
from tests.api.process import Api

MARGIN = 24
"""Pixels below the last thing on a picture."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible(
    browser: Browser, api: Api, key: str, trained: list[str], reported: str, scheme: str
) -> None:
    """axe-core finds nothing serious or critical: on a desk in the light, on a phone in the dark."""
    phone = {"width": 390, "height": 844}
    desk = {"width": 1280, "height": 1560 if PICTURES else 900}
    size = desk if scheme == "light" or PICTURES else phone
    views = {
        "jobs": ("/jobs", "#jobs tr[data-job]"),
        "job": (f"/jobs/{trained[0]}", "#configuration"),
        "new": (f"/new?from={trained[0]}", "#plan dl"),
        "datasets": ("/datasets", ".dataset"),
        "models": ("/models", "#models tr[data-model]"),
        "model": (f"/models/{_model(api, trained[0])}", "#layers .weights[data-layer]"),
        "sweeps": ("/sweeps", "#sweeps [data-id]"),
        "report": (f"/sweeps/{reported}", "#report tbody td"),
        "compare": ("/compare?" + "&".join(f"job={job}" for job in trained), "#options td"),
    }
    if not PICTURES:
        _sweep(api)
    if PICTURES and scheme == "light":
        _keep_busy(api)
    with visiting(browser, f"http://127.0.0.1:{api.port}", color_scheme=scheme, viewport=size) as visit:
        page = visit.page
        page.goto(visit.base)
        page.wait_for_selector("#key")
        assert visit.violations() == []
        visit.sign_in(key)
        for name, (address, sign) in views.items():
            visit.go(address)
            page.wait_for_selector(sign, timeout=SOON)
            if name == "model":
                _look_around(page)
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
            assert visit.violations() == [], f"{name}, {scheme}"
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{name} is {width} pixels wide"
            _picture(page, name, scheme)
    with visiting(browser, f"http://127.0.0.1:{api.port}", color_scheme=scheme) as visit:
        visit.page.goto(f"{visit.base}/docs")
        expect(visit.page.locator("h1")).to_contain_text("API reference")


def _model(api: Api, job_id: str) -> str:
    """Id of the model that a job made."""
    with api.client() as client:
        return str(client.get(f"/v1/jobs/{job_id}").json()["result"]["model"])


def _sweep(api: Api) -> None:
    """A sweep, which is cancelled at once: there is something to see of it, and nothing to wait for."""
    base = {"dataset": "digits", "architecture": NETWORK, "training": {"epochs": 1}}
    space = {"training.learning_rate": {"type": "choice", "values": [0.001, 0.003]}}
    with api.client() as client:
        made = client.post("/v1/sweeps", json={"name": "two rates", "base": base, "space": space, "algorithm": "grid"})
        client.post(f"/v1/sweeps/{made.json()['id']}/cancel").raise_for_status()


def _look_around(page: Page) -> None:
    """Predict an example, open a confusion, and show the bit planes of a layer."""
    page.locator("#playground .sample").nth(3).click()
    page.wait_for_selector(".prediction .verdict", timeout=SOON)
    box = page.locator(".prediction .bar").first.bounding_box()
    assert box is not None
    assert box["width"] > 4 * box["height"], "bars of probabilities are in their places"
    wrong = page.locator("#confusion .matrix button:not(.none):not([aria-label*='right of'])")
    wrong.first.click()
    binary = page.locator("#layer option", has_text="3 x 3, 1 bit").first.get_attribute("value")
    page.locator("#layer").select_option(binary)
    page.wait_for_selector(f"#layers .weights[data-layer='{binary}']")
    page.get_by_role("button", name="Bit planes").click()
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")


def _keep_busy(api: Api) -> None:
    """For the picture of the list: jobs that wait, run and are paused."""
    with api.client() as client:
        for name, epochs in [("digits, another seed", 400), ("clothes at one bit", 4), ("clothes, dense gradients", 4)]:
            data = "digits" if "digits" in name else "fashion-mnist"
            spec = {"name": name, "dataset": data, "architecture": NETWORK, "training": {"epochs": epochs}}
            made = client.post("/v1/jobs", json=spec).json()["id"]
        client.post(f"/v1/jobs/{made}/pause").raise_for_status()
    time.sleep(20)


def _picture(page: Page, name: str, scheme: str) -> None:
    """Write a picture for the documentation, if they are asked for."""
    if not PICTURES:
        return
    page.wait_for_timeout(1500)
    shot = Image.open(BytesIO(page.screenshot()))
    end = page.evaluate("[...document.querySelector('main').children].at(-1).getBoundingClientRect().bottom")
    height = min(shot.height, {"compare": 1320}.get(name, shot.height), math.ceil(end) + MARGIN)
    shot.convert("RGB").crop((0, 0, shot.width, height)).quantize(128).save(
        Path(PICTURES) / f"page-{name}-{scheme}.png", optimize=True
    )
