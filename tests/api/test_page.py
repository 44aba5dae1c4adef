"""The page in a real browser, on the real API with a real worker.

``FQT_PICTURES=docs`` trains longer and writes the pictures of the documentation.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import insert, select

from jobs import events, keys, tables
from jobs.ids import new_id
from jobs.store import Store
from tests.api.browser import Visit, chromium, visiting
from tests.api.conftest import archive
from tests.api.process import Api
from tests.system.flow import write_photos
from tests.worker.processes import REAL, Process

PICTURES = os.environ.get("FQT_PICTURES")
NETWORK = {"name": "convnet", "width": 0.5, "image_size": 16, "channels": 1, "shortcuts": True}
EPOCHS = 12 if PICTURES else 2
MANY_JOBS = 5000
LONG_RUN = 100_000
REFUSED = "Failed to load resource: the server responded with a status of 4"
BROKEN_OFF = ("net::ERR_", "status of 503")
SOON = 30_000


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Api]:
    """The API and a worker, as processes of their own."""
    started = Api(tmp_path_factory.mktemp("page") / "data", valkey_url)
    worker = Process(started.settings, REAL, threads=1, slots=3)
    yield started
    worker.end()
    started.close()


@pytest.fixture(scope="module")
def store(api: Api) -> Iterator[Store]:
    opened = Store.open(api.settings)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def key(api: Api) -> str:
    return api.settings.key_path.read_text().strip()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser, api: Api, key: str) -> Iterator[Visit]:
    """Someone who has signed in."""
    with visiting(browser, f"http://127.0.0.1:{api.port}") as found:
        found.sign_in(key)
        yield found


@pytest.fixture(scope="module")
def submitted(api: Api) -> list[str]:
    """Ids of jobs that a worker has begun with, the newest first."""
    methods: list[tuple[str, dict[str, Any]]] = [
        ("digits, quantisation-aware", {"name": "qat"}),
        ("digits at one bit", {"name": "fqt"}),
    ]
    if PICTURES:
        methods[1:1] = [
            ("digits, dense 8-bit gradients", {"name": "psq", "bits": 8}),
            ("digits, all groups at 4 bits", {"name": "fqt", "preset": "accurate"}),
        ]
    training = {"epochs": EPOCHS, "batch_size": 32, "statistics_every_steps": 10, "telemetry_every_steps": 20}
    with api.client() as client:
        made = []
        for name, method in methods:
            spec = {"name": name, "dataset": "digits", "architecture": NETWORK, "method": method, "training": training}
            made.append(str(client.post("/v1/jobs", json=spec).json()["id"]))
    return made[::-1]


@pytest.fixture(scope="module")
def trained(api: Api, submitted: list[str]) -> list[str]:
    """Those jobs, which have succeeded."""
    deadline = time.monotonic() + 240
    with api.client() as client:
        while {client.get(f"/v1/jobs/{job_id}").json()["state"] for job_id in submitted} != {"succeeded"}:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    return submitted


def _state(page: Page, state: str) -> None:
    expect(page.locator("#state")).to_have_text(state, timeout=SOON)


def _points(page: Page, title: str = "Loss") -> int:
    plot = page.locator(".chart", has=page.get_by_role("heading", name=title, exact=True)).locator(".plot")
    return int(plot.get_attribute("data-points") or 0)


def _wait_for_points(page: Page, least: int) -> int:
    deadline = time.monotonic() + SOON / 1000
    while (points := _points(page)) < least:
        assert time.monotonic() < deadline, f"{points} points, {least} wanted"
        page.wait_for_timeout(100)
    return points


def _drop(page: Page, name: str, content: bytes) -> None:
    """Drop a file on the page, as the browser tells it."""
    script = """([name, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], name));
        for (const kind of ["dragover", "drop"]) {
            const event = new DragEvent(kind, { dataTransfer: transfer, bubbles: true });
            document.getElementById("drop").dispatchEvent(event);
        }
    }"""
    page.evaluate(script, [name, list(content)])


def test_from_own_photos_to_a_running_job(
    browser: Browser, api: Api, key: str, submitted: list[str], tmp_path: Path
) -> None:
    """Dropped, described, followed live over a restart of the API, paused, resumed, cancelled."""
    write_photos(tmp_path / "photos", range(3), 30)
    members = {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in sorted((tmp_path / "photos").rglob("*.png"))
    }
    with visiting(browser, f"http://127.0.0.1:{api.port}", expected=(REFUSED, *BROKEN_OFF)) as visit:
        page = visit.page
        visit.sign_in(key)
        page.get_by_role("link", name="Data sets").click()
        _drop(page, "my photos.zip", archive(members))
        card = page.locator(".dataset", has_text="my photos")
        expect(card.locator(".state")).to_have_text("ready", timeout=SOON)
        expect(card).to_contain_text("90")
        expect(card.locator(".bar i")).to_have_count(3)

        card.get_by_role("link", name="Train on it").click()
        expect(page.get_by_role("group", name="Classes").get_by_role("checkbox")).to_have_count(3)
        page.get_by_label("Name", exact=True).fill("<b>bold</b> & brave")
        page.get_by_role("radio", name="Small convolutional network").check()
        page.get_by_label("Width").fill("0.25")
        page.get_by_label("Image size").fill("8")
        page.get_by_label("Epochs", exact=True).fill("0")
        epochs = page.locator("[data-path='training.epochs']")
        expect(epochs).to_have_attribute("aria-invalid", "true")
        expect(page.locator(f"#{epochs.get_attribute('id')}-fault")).to_contain_text("greater than or equal to 1")
        expect(page.locator("#plan")).to_contain_text("One field is wrong")
        page.get_by_label("Epochs", exact=True).fill("4000")
        page.get_by_label("Batch size").fill("16")
        expect(page.locator("#plan")).to_contain_text("20,000 (5 per epoch)")
        expect(epochs).not_to_have_attribute("aria-invalid", "true")
        page.locator("#submit").click()

        expect(page.get_by_role("heading", level=1)).to_have_text("<b>bold</b> & brave")
        _state(page, "running")
        before = _wait_for_points(page, 10)
        assert _wait_for_points(page, before + 1) > before
        api.stop()
        expect(page.locator("#trouble")).to_contain_text("does not answer")
        api.start()
        expect(page.locator("#trouble")).to_be_hidden(timeout=SOON)
        _wait_for_points(page, before + 40)
        page.locator("#pause").click()
        _state(page, "paused")
        points = _points(page)
        job_id = page.url.rpartition("/")[2]
        with api.client() as client:
            [loss] = client.get(f"/v1/jobs/{job_id}/metrics?kind=step&name=loss").json()["data"]
        assert len(loss["steps"]) == points == loss["steps"][-1], "none was lost, and none came twice"

        page.locator("#resume").click()
        _state(page, "running")
        _wait_for_points(page, points + 1)
        page.locator("#cancel").click()
        page.get_by_role("button", name="No, leave it").click()
        page.locator("#cancel").click()
        page.locator("#confirm").click()
        _state(page, "cancelled")
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


def test_curves_are_read_and_zoomed_by_keyboard(visit: Visit, trained: list[str]) -> None:
    page = visit.page
    visit.go(f"/jobs/{trained[0]}")
    chart = page.locator(".chart", has=page.get_by_role("heading", name="Loss", exact=True))
    _wait_for_points(page, 45 * EPOCHS)
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible(browser: Browser, api: Api, key: str, trained: list[str], scheme: str) -> None:
    """axe-core finds nothing serious or critical: on a desk in the light, on a phone in the dark."""
    phone = {"width": 390, "height": 844}
    desk = {"width": 1280, "height": 1560 if PICTURES else 900}
    size = desk if scheme == "light" or PICTURES else phone
    views = {
        "jobs": ("/jobs", "#jobs tr[data-job]"),
        "job": (f"/jobs/{trained[0]}", "#configuration"),
        "new": (f"/new?from={trained[0]}", "#plan dl"),
        "datasets": ("/datasets", ".dataset"),
        "compare": ("/compare?" + "&".join(f"job={job}" for job in trained), "#options td"),
    }
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
            page.wait_for_selector(sign)
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
            assert visit.violations() == [], f"{name}, {scheme}"
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{name} is {width} pixels wide"
            _picture(page, name, scheme)
    with visiting(browser, f"http://127.0.0.1:{api.port}", color_scheme=scheme) as visit:
        visit.page.goto(f"{visit.base}/docs")
        expect(visit.page.locator("h1")).to_contain_text("API reference")


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
    height = {"jobs": 500, "datasets": 520, "compare": 1320}.get(name, shot.height)
    shot.convert("RGB").crop((0, 0, shot.width, height)).quantize(128).save(
        Path(PICTURES) / f"page-{name}-{scheme}.png", optimize=True
    )


def test_thousands_of_jobs_and_a_hundred_thousand_points(visit: Visit, store: Store, trained: list[str]) -> None:
    """The bounds are generous, for machines that do other things as well; what was measured is printed."""
    long_run = _fill(store, trained[0])
    page = visit.page
    first_row = """() => new Promise((resolve) => {
        const look = () => {
            if (document.querySelector("#jobs tr[data-job]")) resolve(performance.now());
            else requestAnimationFrame(look);
        };
        look();
    })"""
    page.goto("about:blank")
    page.goto(visit.base, wait_until="commit")
    milliseconds = page.evaluate(first_row)
    print(f"list of {MANY_JOBS} jobs: first rows after {milliseconds:.0f} ms")
    assert milliseconds < 4000
    assert page.locator("#jobs tr[data-job]").count() < 60, "only what is in sight is in the document"
    page.locator("#search").fill("number 4999")
    expect(page.locator("#count")).to_have_text("1 job", timeout=SOON)
    expect(page.locator("#jobs tr[data-job]")).to_have_count(1)
    page.locator("#search").fill("")
    expect(page.locator("#count")).to_contain_text(f"{MANY_JOBS}"[:1])

    begin = time.monotonic()
    visit.go(f"/jobs/{long_run}")
    _wait_for_points(page, 2000)
    seconds = time.monotonic() - begin
    print(f"job of {LONG_RUN} steps: curves after {seconds:.2f} s")
    assert seconds < 6
    draw = """async (points) => {
        const { LineChart } = await import("/page/lib/chart.js");
        const chart = new LineChart({ title: "Many", smoothing: true });
        document.getElementById("main").append(chart.element);
        const xs = Float64Array.from({ length: points }, (_, index) => index + 1);
        const ys = xs.map((x) => Math.exp(-x / 20000) + Math.random() / 10);
        const begin = performance.now();
        for (const name of ["one", "two", "three"]) chart.set(name, xs, ys);
        chart.weight = 0.9;
        chart.draw();
        return performance.now() - begin;
    }"""
    milliseconds = page.evaluate(draw, LONG_RUN)
    print(f"three curves of {LONG_RUN} points: drawn in {milliseconds:.0f} ms")
    assert milliseconds < 1000
    loss = page.locator(".chart .plot").first
    loss.focus()
    page.keyboard.press("+")
    expect(loss).to_have_attribute("data-points", str(LONG_RUN), timeout=SOON)


def _fill(store: Store, job_id: str) -> str:
    """Make thousands of jobs like this one, and one with very many steps, whose id is returned."""
    steps = [
        (
            "metric",
            {"kind": "step", "step": n, "loss": 1 / n, "learning_rate": 1e-3, "images_per_second": 900 + n % 50},
        )
        for n in range(1, LONG_RUN + 1)
    ]
    with store.write() as connection:
        row = dict(connection.execute(select(tables.jobs).where(tables.jobs.c.id == job_id)).mappings().one())
        rows = [{**row, "id": new_id("job"), "name": f"number {n}"} for n in range(MANY_JOBS)]
        connection.execute(insert(tables.jobs), rows)
        long_run = {**row, "id": new_id("job"), "name": "very long", "next_seq": LONG_RUN + 1}
        connection.execute(insert(tables.jobs), long_run)
        events.insert_rows(connection, long_run["id"], 1, 1, steps)  # type: ignore[arg-type]
    return str(long_run["id"])
