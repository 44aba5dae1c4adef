"""From photos on a desk to a prediction: a job followed over a restart of the API, paused, resumed and compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.api.browser import Visit, visiting
from tests.api.conftest import archive
from tests.api.page.helpers import BROKEN_OFF, NETWORK, REFUSED, SOON, drop, points_of, state_is, wait_for_points
from tests.api.process import Api
from tests.system.flow import write_photos

STEPS = 3000  # the job outlasts a restart of the API, and then is soon done
LONG = 240_000


def test_from_own_photos_to_a_model_that_predicts(
    browser: Browser, api: Api, key: str, submitted: list[str], tmp_path: Path
) -> None:
    """Dropped, described, followed live over a restart of the API, paused, resumed, compared, tried and taken home."""
    write_photos(tmp_path / "photos", range(3), 30)
    members = {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in sorted((tmp_path / "photos").rglob("*.png"))
    }
    with visiting(browser, f"http://127.0.0.1:{api.port}", expected=(REFUSED, *BROKEN_OFF)) as visit:
        page = visit.page
        visit.sign_in(key)
        page.get_by_role("link", name="Data sets").click()
        drop(page, "my photos.zip", archive(members))
        card = page.locator(".dataset", has_text="my photos")
        expect(card.locator(".state")).to_have_text("ready", timeout=SOON)
        expect(card).to_contain_text("90")
        expect(card.locator(".bar i")).to_have_count(3)

        card.get_by_role("link", name="Train on it").click()
        expect(page.get_by_role("group", name="Classes").get_by_role("checkbox")).to_have_count(3)
        page.get_by_label("Name", exact=True).fill("<b>bold</b> & brave")
        page.get_by_role("radio", name="Small convolutional network").check()
        page.get_by_label("Width", exact=True).fill("0.25")
        page.get_by_label("Image size").fill("8")
        page.get_by_label("Epochs", exact=True).fill("0")
        epochs = page.locator("[data-path='training.epochs']")
        expect(epochs).to_have_attribute("aria-invalid", "true")
        expect(page.locator(f"#{epochs.get_attribute('id')}-fault")).to_contain_text("greater than or equal to 1")
        expect(page.locator("#plan")).to_contain_text("One field is wrong")
        page.get_by_label("Epochs", exact=True).fill(str(STEPS // 5))
        page.get_by_label("Batch size").fill("16")
        expect(page.locator("#plan")).to_contain_text(f"{STEPS:,} (5 per epoch)")
        expect(epochs).not_to_have_attribute("aria-invalid", "true")
        page.locator("#submit").click()

        expect(page.get_by_role("heading", level=1)).to_have_text("<b>bold</b> & brave")
        state_is(page, "running")
        before = wait_for_points(page, 10)
        assert wait_for_points(page, before + 1) > before
        api.stop()
        expect(page.locator("#trouble")).to_contain_text("does not answer")
        api.start()
        expect(page.locator("#trouble")).to_be_hidden(timeout=SOON)
        wait_for_points(page, before + 40)
        page.locator("#pause").click()
        state_is(page, "paused")
        points = points_of(page)
        job_id = page.url.rpartition("/")[2]
        with api.client() as client:
            [loss] = client.get(f"/v1/jobs/{job_id}/metrics?kind=step&name=loss").json()["data"]
        assert len(loss["steps"]) == points == loss["steps"][-1], "none was lost, and none came twice"

        page.locator("#resume").click()
        state_is(page, "running")
        wait_for_points(page, points + 1)
        expect(page.locator("#state")).to_have_text("succeeded", timeout=LONG)
        assert points_of(page) == STEPS, "the second attempt went on where the first one was"

        visit.go("/jobs")
        page.get_by_label("Compare <b>bold</b> & brave").check()
        page.get_by_label("Compare digits at one bit").check()
        page.locator("#compare").click()
        expect(page.locator("#options tbody")).to_contain_text("dataset")
        expect(page.locator("#results")).to_contain_text("<b>bold</b> & brave")

        visit.go(f"/jobs/{job_id}")
        page.get_by_role("link", name="Try the model").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("<b>bold</b> & brave")
        name, photo = next(iter(members.items()))
        drop(page, "photo.png", photo, "playground")
        card = page.locator(".prediction", has_text="photo.png")
        expect(card.locator(".bars dt")).to_have_count(3, timeout=SOON)
        assert name.split("/")[1] in card.locator(".bars dt").all_text_contents()
        with page.expect_download() as download, api.client() as client:
            page.get_by_role("link", name="Packed model").click()
            [model] = client.get(f"/v1/models?job={job_id}").json()["data"]
        assert hashlib.sha256(download.value.path().read_bytes()).hexdigest() == model["sha256"]


def test_a_job_is_cancelled_after_a_question(visit: Visit, api: Api) -> None:
    page = visit.page
    training = {"epochs": 4000, "batch_size": 16}
    with api.client() as client:
        spec = {"name": "endless", "dataset": "digits", "architecture": NETWORK, "training": training}
        job_id = client.post("/v1/jobs", json=spec | {"method": {"name": "qat"}}).json()["id"]
    visit.go(f"/jobs/{job_id}")
    state_is(page, "running")
    page.locator("#cancel").click()
    page.get_by_role("button", name="No, leave it").click()
    state_is(page, "running")
    page.locator("#cancel").click()
    page.locator("#confirm").click()
    state_is(page, "cancelled")
    expect(page.locator("#log")).to_contain_text("→ cancelled")


def test_faults_of_an_upload_are_told_at_their_place(browser: Browser, api: Api, key: str, tmp_path: Path) -> None:
    folder = tmp_path / "mixed up"
    write_photos(folder, range(2), 8)
    (folder / "1" / "0.png").write_text("this is no image")
    with visiting(browser, f"http://127.0.0.1:{api.port}", expected=(REFUSED,)) as visit:
        visit.sign_in(key)
        visit.go("/datasets")
        visit.page.locator("#folder").set_input_files(folder)
        refused = visit.page.locator(".upload")
        expect(refused.get_by_role("heading")).to_have_text("mixed up was not taken", timeout=SOON)
        expect(refused.locator(".faults tbody tr")).to_have_count(1)
        expect(refused.locator(".faults tbody th")).to_contain_text("1/0.png")
        (folder / "1" / "0.png").unlink()
        visit.page.locator("#folder").set_input_files(folder)
        expect(visit.page.locator(".dataset", has_text="mixed up")).to_contain_text("15", timeout=SOON)
