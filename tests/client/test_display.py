from __future__ import annotations

import copy
import pickle
from xml.etree import ElementTree

import httpx

from fqt_client import AsyncClient, Client, Comparison, Sweep
from tests.client import models, sweeps
from tests.client.fake import JOB_ID, Script, job, problem

PATH = f"/v1/jobs/{JOB_ID}"
SVG = "{http://www.w3.org/2000/svg}"
EVIL = "</svg><script>alert(1)</script>|`*"


def _curves(script: Script) -> None:
    loss = {"kind": "step", "name": "loss", "steps": [1, 2, 3], "values": [2.0, None, 0.5]}
    accuracy = {"kind": "epoch", "name": "validation_accuracy", "steps": [2, 3], "values": [0.5, 0.75]}
    script.on("GET", f"{PATH}/metrics", httpx.Response(200, json={"data": [loss, accuracy], "has_more": False}))


def test_a_job_shows_state_progress_and_curves_without_scripts(client: Client, script: Script) -> None:
    progress = {"step": 3, "total_steps": 10, "validation_accuracy": 0.75, "eta_seconds": 12.0}
    script.on("GET", PATH, httpx.Response(200, json=job(name=EVIL, progress=progress)))
    _curves(script)
    found = client.jobs.get(JOB_ID)
    assert len(script.requests) == 1  # curves are fetched for who looks at them
    html = found._repr_html_()
    root = ElementTree.fromstring(f"<div>{html}</div>")
    assert root.find(".//script") is None
    assert EVIL in "".join(root.itertext())
    assert "running · accuracy 75.0 % · about 12 s left" in "".join(root.itertext())
    assert (root.find(".//progress").attrib["value"], root.find(".//progress").attrib["max"]) == ("3", "10")
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]  # the lost value leaves no point
    first, last = (tuple(map(float, point.split(","))) for point in lines[0].attrib["points"].split())
    assert first[0] < last[0]
    assert first[1] < last[1]  # a loss that falls goes down, and y grows downwards


def test_a_job_whose_curves_cannot_be_had_is_shown_all_the_same(client: Client, script: Script) -> None:
    script.on("GET", PATH, httpx.Response(200, json=job("failed", error={"message": "<b>", "param": "training"})))
    script.on("GET", f"{PATH}/metrics", problem(503, "unavailable", "Starting <now>."))
    html = client.jobs.get(JOB_ID)._repr_html_()
    assert "training: &lt;b&gt;" in html
    assert "no curves: Starting &lt;now&gt;." in html
    assert script.waits == []  # a notebook does not wait


def test_an_asynchronous_client_fetches_the_curves_beforehand(script: Script) -> None:
    import asyncio

    script.on("GET", PATH, httpx.Response(200, json=job()))
    _curves(script)

    async def body() -> tuple[str, str]:
        async with AsyncClient("http://127.0.0.1:1", "fqt_test", http=httpx.MockTransport(script)) as client:
            bare, full = await client.jobs.get(JOB_ID), await client.jobs.get(JOB_ID, curves=True)
            return bare._repr_html_(), full._repr_html_()

    bare, full = asyncio.run(body())
    assert ("<svg" in bare, "<svg" in full) == (False, True)


def test_a_job_can_be_copied_and_stored(client: Client, script: Script) -> None:
    script.on("GET", PATH, httpx.Response(200, json=job()))
    found = client.jobs.get(JOB_ID)
    assert found.load_curves is not None
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found


def test_lists_are_tables_and_reprs_are_one_line(client: Client, script: Script) -> None:
    spec = {"dataset": "digits", "method": {"name": "fqt", "bits": 4}}
    rows = [job("succeeded", name=EVIL, spec=spec, result={"validation_accuracy": 0.5}), job()]
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": rows, "has_more": True}))
    page = client.jobs.list_page()
    assert repr(page.data[0]) == (
        f"Job(id='{JOB_ID}', name={EVIL!r}, state='succeeded', method='fqt', dataset='digits', accuracy=0.5)"
    )
    lines = page._repr_markdown_().splitlines()
    assert lines[0] == "| id | name | state | method | dataset | accuracy |"
    assert r"| &lt;/svg&gt;&lt;script&gt;alert(1)&lt;/script&gt;\|\`\* |" in lines[2]
    assert lines[-1] == "*and more*"
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [], "has_more": False}))
    assert client.jobs.artifacts(JOB_ID)._repr_markdown_() == "*nothing*"


def _parsed(html: str) -> ElementTree.Element:
    root = ElementTree.fromstring(f"<div>{html}</div>")
    assert root.find(".//script") is None
    return root


def test_a_comparison_shows_what_differs_and_each_metric_with_all_its_curves() -> None:
    one = sweeps.compared(1, [2.0, 1.0, None, 0.5], name=EVIL, parameters={"method.bits": 4})
    found = Comparison.from_json(sweeps.comparison(one, sweeps.compared(2, [2.0, 1.5])))
    root = _parsed(found._repr_html_())
    rows = ["".join(cell.itertext()) for cell in root.findall(".//td")]
    assert rows == ["●", EVIL, "succeeded", "0.1", "0.5", "●", "run 2", "succeeded", "0.01", "0.5"]
    assert [cell.text for cell in root.findall(".//th")] == [None, "job", "state", sweeps.RATE, "accuracy"]
    [plot] = root.findall(f".//{SVG}svg")
    lines = plot.findall(f"{SVG}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 2]
    dots = [dot.attrib["style"].removeprefix("color:") for dot in root.findall(".//td/span")]
    assert dots == [line.attrib["stroke"] for line in lines]  # the table is the legend
    assert repr(found) == "Comparison(2 jobs, differing=['training.learning_rate', 'method.bits'])"


def test_a_sweep_shows_how_far_it_is_its_values_and_its_trials() -> None:
    trials = (sweeps.trial(1, 0.5), sweeps.trial(2, 0.75), sweeps.trial(3, None, reason=EVIL))
    found = Sweep.from_json(sweeps.sweep(*trials))
    root = _parsed(found._repr_html_())
    assert "running · best 0.75 (trial 2)" in "".join(root.itertext())
    assert (root.find(".//progress").attrib["value"], root.find(".//progress").attrib["max"]) == ("2", "4")
    assert len(root.find(f".//{SVG}polyline").attrib["points"].split()) == 2
    assert EVIL in [cell.text for cell in root.findall(".//td")]
    assert repr(found) == f"Sweep(id='{sweeps.SWEEP_ID}', name='rates', state='running', jobs=4)"
    empty = Sweep.from_json(sweeps.sweep(state="failed", reason={"message": "no job succeeded"}))
    assert "no job succeeded" in _parsed(empty._repr_html_()).findall("div")[2].text


def test_pages_of_models_and_sweeps_are_tables_too(client: Client, script: Script) -> None:
    models.answer(script)
    lines = client.models.list_page()._repr_markdown_().splitlines()
    assert lines[0].startswith("| id | name |")
    assert "| pets | packed |" in lines[2]
    sweep = {"id": "swp_1", "state": "running", "spec": {}, "trials": []}
    script.on("GET", "/v1/sweeps", httpx.Response(200, json={"data": [sweep], "has_more": False}))
    lines = client.sweeps.list_page()._repr_markdown_().splitlines()
    assert "| running |" in lines[2]
