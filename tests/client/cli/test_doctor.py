"""The half of `fqt doctor` that asks the service: it is all there is where only the client is installed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from fqt_client import Client, __version__
from fqt_client.cli.doctor import ask
from fqt_client.cli.findings import Finding
from tests.client.fake import Script, problem


@pytest.fixture
def well(script: Script) -> Script:
    """A service that lacks nothing."""
    script.on("GET", "/healthz", httpx.Response(200, json={}, headers={"date": _date()}))
    script.on("GET", "/readyz", httpx.Response(200, json={"worker": True}))
    script.on("GET", "/openapi.json", httpx.Response(200, json={"info": {"version": __version__}}))
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [], "has_more": False}))
    script.on("POST", "/v1/jobs", httpx.Response(200, json={"object": "plan", "warnings": []}))
    script.on("GET", "/v1/keys", httpx.Response(200, json={"data": []}))
    return script


def _date(**ago: float) -> str:
    return format_datetime(datetime.now(UTC) - timedelta(**ago), usegmt=True)


def _ills(client: Client) -> list[Finding]:
    return [finding for finding in ask(client) if finding.status != "ok"]


def test_nothing_is_found_where_all_is_well(client: Client, well: Script) -> None:
    findings = list(ask(client))
    assert {finding.status for finding in findings} == {"ok"}
    assert findings[-1].message == "valid, with read, write, admin"
    assert well.seen("POST", "/v1/jobs")[0].url.params["dry_run"] == "true"


LACKS = problem(403, "forbidden", "This needs another scope.")
CASES: dict[str, tuple[tuple[str, str], Callable[[], httpx.Response | Exception], str, str, str]] = {
    "away": (("GET", "/healthz"), lambda: httpx.ConnectError("refused"), "broken", "refused", "fqt up"),
    "host": (("GET", "/healthz"), lambda: problem(421, "host", "Not ours."), "broken", "Not ours", "FQT_ALLOWED_HOSTS"),
    "clock": (
        ("GET", "/healthz"),
        lambda: httpx.Response(200, json={}, headers={"date": _date(minutes=9)}),
        "warning",
        "s ahead of the service's",
        "NTP",
    ),
    "version": (
        ("GET", "/openapi.json"),
        lambda: httpx.Response(200, json={"info": {"version": "9.9"}}),
        "warning",
        "the service is 9.9",
        "fqt-client==9.9",
    ),
    "broker": (("GET", "/readyz"), lambda: problem(503, "x", "no broker"), "broken", "no broker", "FQT_BROKER_URL"),
    "worker": (("GET", "/readyz"), lambda: httpx.Response(200, json={"worker": False}), "broken", "wait", "fqt worker"),
    "key": (("GET", "/v1/jobs"), lambda: problem(401, "x", "Unknown key."), "broken", "Unknown", "fqt keys create"),
    "scope": (("POST", "/v1/jobs"), lambda: LACKS, "warning", "valid, with read, admin", "the scope write"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_service_lacks_is_found_with_its_remedy(client: Client, well: Script, case: str) -> None:
    (method, path), answer, status, said, remedy = CASES[case]
    well.on(method, path, answer())
    [finding] = _ills(client)
    assert finding.status == status
    assert said in finding.message
    assert remedy in str(finding.remedy)


def test_queues_that_no_worker_serves_are_told(client: Client, well: Script) -> None:
    warning = {"field": "device", "message": "no worker serves 'cpu'"}
    well.on("POST", "/v1/jobs", httpx.Response(200, json={"warnings": [warning]}))
    [finding] = _ills(client)
    assert (finding.check, "no worker serves 'cpu'" in finding.message) == ("workers", True)
