"""What the page shows of jobs, read by pointer and by keyboard, and who may look."""

from __future__ import annotations

import hashlib
import re

import httpx
from playwright.sync_api import Browser, expect
from sqlalchemy import update

from jobs import keys
from jobs.store import Store
from jobs.tables import jobs
from tests.api.browser import Visit, visiting
from tests.api.page.helpers import EPOCHS, REFUSED, wait_for_points
from tests.api.process import Api
from tests.jobs.helpers import get


def test_it_is_plain_files(api: Api) -> None:
    """Each is there without a key, is kept by browsers until it changes, and nothing else is on that path."""
    base = f"http://127.0.0.1:{api.port}"
    index = httpx.get(base)
    modules = re.findall(r'modulepreload" href="([^"]+)"', index.text)
    assert {"/page/views.js", "/page/page.js", "/page/views/jobs.js", "/page/lib/chart.js"} <= set(modules)
    for path in modules:
        answer = httpx.get(base + path)
        assert answer.headers["content-type"].startswith("text/javascript"), path
        again = httpx.get(base + path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path
    for path in ("/page/", "/page/nothing.js", "/page/../page.py", "/page/index.html"):
        assert httpx.get(base + path).status_code == 401, path


def test_sessions_begin_and_end(browser: Browser, api: Api, store: Store) -> None:
    with store.write() as connection:
        reader, plain = keys.create(connection, store.key_secret, name="reader", scopes=["read"])
    with visiting(browser, f"http://127.0.0.1:{api.port}", expected=(REFUSED,)) as visit:
        page = visit.page
        page.goto(visit.base)
        page.fill("#key", "fqt_wrong")
        page.press("#key", "Enter")
        expect(page.locator("#refused")).to_contain_text("unknown, mistyped, revoked or expired")
        visit.sign_in(plain)
        assert page.evaluate("document.cookie") == ""
        assert plain not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        expect(page.get_by_role("link", name="New job")).to_have_count(1)  # in the navigation, not as what may be done
        page.reload()
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        with store.write() as connection:
            keys.revoke(connection, reader.id)
        page.reload()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_finished_job_is_looked_at_compared_and_fetched(visit: Visit, trained: list[str], api: Api) -> None:
    page = visit.page
    page.get_by_label("Compare digits at one bit").check()
    page.get_by_label("Compare digits, quantisation-aware").check()
    page.locator("#compare").click()
    expect(page.locator("#options tbody tr th").first).to_have_text("method.name")
    shown = page.locator("#options tbody th").all_text_contents()
    assert all(name.startswith("method.") for name in shown), "only what differs"
    expect(page.locator("#results")).to_contain_text("arithmetic")
    page.get_by_label("Only what differs").uncheck()
    expect(page.locator("#options")).to_contain_text("training.seed")
    page.locator("#metric").select_option("Validation accuracy")
    expect(page.locator(".chart .plot")).to_have_attribute("data-points", str(EPOCHS))

    visit.go(f"/jobs/{trained[0]}")
    expect(page.locator(".tiles")).to_contain_text("x smaller than FP32")
    expect(page.locator(".tiles")).to_contain_text("integer")
    noise = page.locator(".heat", has_text="Gradient noise").locator(".plot")
    expect(noise).to_have_attribute("data-reports", str(EPOCHS * 45 // 20 + 1))
    expect(page.locator("#configuration")).to_contain_text("training.epochs")
    page.get_by_role("button", name="Python").click()
    expect(page.locator(".code")).to_contain_text("client.jobs.create(")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download report.json").click()
    with api.client() as client:
        files = client.get(f"/v1/jobs/{trained[0]}/artifacts").json()["data"]
    [report] = [row for row in files if row["name"] == "report.json"]
    assert hashlib.sha256(download.value.path().read_bytes()).hexdigest() == report["sha256"]


def test_a_job_that_ended_below_its_parent_leads_to_it(visit: Visit, trained: list[str], store: Store) -> None:
    job = get(store, trained[-1])
    lost = {"model": "mdl_0", "validation_accuracy": 0.9, "message": "below the 90.0% of its parent: try more epochs"}
    with store.write() as connection:
        change = update(jobs).where(jobs.c.id == job.id)
        connection.execute(change.values(result={**(job.result or {}), "setback": lost}))
    visit.go(f"/jobs/{job.id}")
    notice = visit.page.locator(".notice", has_text="Worse than what it started from")
    expect(notice).to_contain_text("try more epochs")
    expect(notice.get_by_role("link")).to_have_attribute("href", "#/models/mdl_0")
    assert visit.violations() == []
    with store.write() as connection:
        connection.execute(change.values(result=job.result))


def test_the_report_of_a_sweep_shows_rows_over_seeds_and_what_failed(visit: Visit, reported: str, api: Api) -> None:
    page = visit.page
    visit.go("/sweeps")
    page.locator(f"[data-id={reported}]").get_by_role("link", name="Report").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("methods")
    with api.client() as client:
        rows = client.get(f"/v1/sweeps/{reported}/report").json()["rows"]
    assert [row["label"] for row in rows] == ["fqt", "qat"]
    for row, line in zip(rows, page.locator("#report tbody tr").all(), strict=True):
        cells = line.locator("td").all_text_contents()
        assert cells[0] == f"{100 * row['value']['mean']:.1f} %"
        assert cells[1] == f"1 of {len(row['runs'])}"
        assert cells[2] == f"{row['arithmetic']} ({row['kernels']})"
        assert (cells[11] == "0") == (row["label"] == "qat")  # whose gradients are exact
    widths = [bar.evaluate("bar => bar.style.width") for bar in page.locator(".gauges").nth(1).locator(".bar").all()]
    assert (float(widths[0].strip("%")) < 100, widths[1]) == (True, "100%")
    expect(page.locator("#lost li")).to_have_text("qat, seed 1: failed, the loss is not finite")


def test_curves_are_read_and_zoomed_by_keyboard(visit: Visit, trained: list[str]) -> None:
    page = visit.page
    visit.go(f"/jobs/{trained[0]}")
    chart = page.locator(".chart", has=page.get_by_role("heading", name="Loss", exact=True))
    wait_for_points(page, 45 * EPOCHS)
    chart.locator(".plot").focus()
    page.keyboard.press("Home")
    expect(chart.locator("[aria-live]")).to_contain_text("step 1: training")
    page.keyboard.press("ArrowRight")
    expect(chart.locator("[aria-live]")).to_contain_text("step 2: training")
    page.keyboard.press("+")
    expect(chart.get_by_role("button", name="Whole run")).to_be_visible()
    page.keyboard.press("Escape")
    expect(chart.get_by_role("button", name="Whole run")).to_be_hidden()
    chart.get_by_text("As a table").click()
    expect(chart.locator("table caption")).to_contain_text("Loss")
    first = chart.locator("tbody tr").first
    expect(first.locator("th")).to_have_text(str(45 * EPOCHS))
    box = chart.locator(".plot").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 50)
    page.mouse.up()
    expect(chart.get_by_role("button", name="Whole run")).to_be_visible()
    chart.get_by_label("Log").check()
