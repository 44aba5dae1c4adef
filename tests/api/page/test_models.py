"""Models in the page: the list, the playground, confusions with their images, weights, downloads; and sweeps."""

from __future__ import annotations

import hashlib
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.api.browser import Visit, visiting
from tests.api.page.helpers import REFUSED, SOON, drop
from tests.api.process import Api
from tests.worker.helpers import until


@pytest.fixture(scope="module")
def model(api: Api, trained: list[str]) -> dict[str, Any]:
    """The model of a job that the page shows."""
    with api.client() as client:
        model_id = client.get(f"/v1/jobs/{trained[0]}").json()["result"]["model"]
        return dict(client.get(f"/v1/models/{model_id}").json())


def _digit(api: Api, model: dict[str, Any]) -> bytes:
    """A validation image, as the registry shows it."""
    with api.client() as client:
        sheet = Image.open(BytesIO(client.get(f"/v1/models/{model['id']}/examples").content))
    side = model["evaluation"]["examples"]["side"]
    data = BytesIO()
    sheet.crop((0, 0, side, side)).save(data, "PNG")
    return data.getvalue()


def test_a_model_is_found_from_its_job_and_predicts_what_is_dropped(
    visit: Visit, api: Api, model: dict[str, Any]
) -> None:
    page = visit.page
    visit.go("/models")
    row = page.locator(f"#models tr[data-model={model['id']}]")
    expect(row).to_contain_text("digits at one bit")
    expect(row).to_contain_text("x smaller")
    expect(row).to_contain_text("integer")
    page.locator("#search").fill("no such thing")
    expect(page.locator("#models tbody tr")).to_have_count(0)
    page.locator("#search").fill("one bit")
    row.get_by_role("link", name="digits at one bit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("digits at one bit")
    expect(page.get_by_role("list", name="Lineage")).to_contain_text("trained on")

    content = _digit(api, model)
    drop(page, "seven.png", content, "playground")
    card = page.locator(".prediction", has_text="seven.png")
    expect(card.locator(".bars dt")).to_have_count(5, timeout=SOON)
    with api.client() as client:
        answer = client.post(f"/v1/models/{model['id']}/predict", files={"image": content}).json()
    [prediction] = answer["predictions"]
    expect(card.locator("strong")).to_have_text(prediction["label"])
    assert card.locator(".bars dt").all_text_contents() == [share["label"] for share in prediction["top"]]
    page.locator("#image").set_input_files(
        [{"name": f"{n}.png", "mimeType": "image/png", "buffer": content} for n in range(2)]
    )
    expect(page.locator(".prediction .verdict")).to_have_count(3, timeout=SOON)
    page.locator("#playground .sample").first.click()
    expect(page.locator(".prediction .verdict")).to_have_count(4, timeout=SOON)


def test_what_is_no_image_is_told_at_its_place(browser: Browser, api: Api, key: str, model: dict[str, Any]) -> None:
    with visiting(browser, f"http://127.0.0.1:{api.port}", expected=(REFUSED,)) as visit:
        visit.sign_in(key)
        visit.go(f"/models/{model['id']}")
        drop(visit.page, "notes.txt", b"this is no image", "playground")
        expect(visit.page.locator(".prediction [role=alert]")).to_contain_text("image", timeout=SOON)


def test_confusions_show_their_images(visit: Visit, api: Api, model: dict[str, Any]) -> None:
    page = visit.page
    matrix = model["evaluation"]["confusion"]["matrix"]
    layout = model["evaluation"]["examples"]
    actual, predicted, shown = max(layout["cells"], key=lambda cell: (cell[0] != cell[1], cell[2]))
    assert shown == min(layout["columns"], matrix[actual][predicted])
    visit.go(f"/models/{model['id']}")
    cells = page.locator("#confusion .matrix td button")
    expect(cells).to_have_count(len(matrix) ** 2)
    assert [int(text.replace("·", "0")) for text in cells.all_text_contents()] == [n for row in matrix for n in row]
    page.locator(f"[data-actual='{actual}'][data-predicted='{predicted}']").click()
    expect(page.locator("#examples h3")).to_have_text(f"{actual}, taken for {predicted}")
    pictures = page.locator("#examples .sample")
    expect(pictures).to_have_count(shown)
    expect(page.locator("#examples")).to_contain_text(str(matrix[actual][predicted]))
    images = page.locator("#examples img")
    # Playwright's own way of waiting evaluates a string in the page, which its policy forbids from the second time on.
    until(lambda: images.evaluate_all("images => images.every((image) => image.naturalWidth > 0)"))

    pictures.first.click()
    card = page.locator(".prediction").first
    expect(card.locator("strong")).to_have_text(
        str(predicted), timeout=SOON
    )  # the pixels are those that it was wrong about
    page.locator("[data-actual='0'][data-predicted='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#examples h3")).to_have_text("1, and said to be")


def test_weights_are_shown_layer_by_layer(visit: Visit, api: Api, model: dict[str, Any]) -> None:
    page = visit.page
    visit.expected = ("willReadFrequently",)  # of this test, which reads pixels
    with api.client() as client:
        layers = client.get(f"/v1/models/{model['id']}/layers").json()["data"]
    first, binary = layers[0], next(row for row in layers if row["bits"] == 1)
    visit.go(f"/models/{model['id']}")
    plot = page.locator("#layers .weights")
    expect(plot).to_have_attribute("data-layer", first["name"], timeout=SOON)
    assert page.locator("#layer option").count() == len(layers)
    colours = """() => {
        const canvas = document.querySelector("#layers canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const found = new Map();
        for (let at = 0; at < data.length; at += 4) {
            const name = data[at + 3] ? data.slice(at, at + 3).join() : "none";
            found.set(name, (found.get(name) ?? 0) + 1);
        }
        found.delete("none");
        return [...found.values()].sort((a, b) => a - b);
    }"""
    assert len(page.evaluate(colours)) > 10, "weights in full precision"
    page.locator("#layer").select_option(binary["name"])
    expect(plot).to_have_attribute("data-layer", binary["name"])
    shown = min(64, binary["shape"][0])
    weights = shown * binary["weights"] // binary["shape"][0]
    for arrangement in ("Kernels", "Bit planes"):
        page.get_by_role("button", name=arrangement).click()
        page.wait_for_timeout(100)
        signs = page.evaluate(colours)
        assert (len(signs), sum(signs)) == (2, weights), "each weight is one cell of one of two colours"
    expect(page.locator("#layers [role=status]")).to_contain_text(f"{100 * binary['positive_share']:.1f} %")
    box = page.locator("#layers canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    expect(page.locator("#layers")).to_contain_text(re.compile(r"filter 1, input 1, row 1, column 1: [+−]1"))
    page.locator("#layers").get_by_text("As a table").click()
    expect(page.locator("#layers tbody tr")).to_have_count(shown)


def test_a_model_is_uploaded_by_dropping_it(
    browser: Browser, api: Api, key: str, model: dict[str, Any], tmp_path: Path
) -> None:
    """It predicts as the one it is a copy of; what is no model is refused at its place."""
    with api.client() as client:
        content = client.get(f"/v1/models/{model['id']}/file").content
    with visiting(browser, f"http://127.0.0.1:{api.port}", expected=(REFUSED,)) as visit:
        page = visit.page
        visit.sign_in(key)
        visit.go("/models")
        drop(page, "from a friend.safetensors", content)
        page.get_by_role("link", name="from a friend").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("from a friend")
        drop(page, "digit.png", _digit(api, model), "playground")
        with api.client() as client:
            answer = client.post(f"/v1/models/{model['id']}/predict", files={"image": _digit(api, model)}).json()
        card = page.locator(".prediction", has_text="digit.png")
        expect(card.locator("strong")).to_have_text(answer["predictions"][0]["label"], timeout=SOON)

        visit.go("/models")
        (tmp_path / "notes.safetensors").write_bytes(b"this is no model")
        page.locator("#file").set_input_files(tmp_path / "notes.safetensors")
        expect(page.locator(".upload h2")).to_have_text("notes was not taken", timeout=SOON)
        expect(page.locator(".upload .faults tbody tr")).to_have_count(1)
        page.locator(".upload").get_by_role("button", name="Dismiss").click()
        expect(page.locator(".upload")).to_have_count(0)


def test_a_model_is_downloaded_and_exported(visit: Visit, api: Api, model: dict[str, Any]) -> None:
    page = visit.page
    visit.go(f"/models/{model['id']}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Packed model").click()
    assert hashlib.sha256(download.value.path().read_bytes()).hexdigest() == model["sha256"]
    page.locator("#export").click()
    link = page.get_by_role("link", name="ONNX")
    expect(link).to_be_visible(timeout=SOON)
    with page.expect_download() as download:
        link.click()
    assert download.value.path().stat().st_size > model["size"]
    with page.expect_download() as download:
        page.get_by_role("link", name="Card").click()
    assert download.value.path().read_text().startswith(("#", "---"))
    page.get_by_role("link", name="Train from it").click()
    expect(page.locator("[data-path=initial_weights]")).to_have_value(model["lineage"]["job"])
    expect(page.locator("#plan dl")).to_be_visible()  # it is a job that can be submitted, not a fault
