"""`fqt doctor`: what is wrong with this set-up, and how to mend it."""

from __future__ import annotations

import platform
import stat
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import httpx
import typer

from fqt_client.cli.exits import ExitCode, line_of
from fqt_client.cli.findings import Finding, found_here
from fqt_client.cli.output import print_json, print_line, printable
from fqt_client.cli.session import JsonOption, connect
from fqt_client.client import Client
from fqt_client.config import config_file
from fqt_client.errors import (
    ApiError,
    AuthenticationError,
    CannotConnectError,
    FqtClientError,
    NotConfiguredError,
    PermissionDeniedError,
    ServerFaultError,
)

app = typer.Typer()
SKEW_SECONDS = 30.0
PROBE_SECONDS = 10.0
_MARKS = {"ok": "ok     ", "warning": "warning", "broken": "BROKEN "}


@app.command(rich_help_panel="Service")
def doctor(
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Only look at this machine's GPU: verify its kernels, and measure them.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Tell what is wrong with this set-up and how to mend it: this machine, the service, and the way between them.

    Exit code 5 if something is broken. Nothing is changed, and nothing is submitted. With the client alone only the
    service is looked at.
    """
    findings = _gpu() if gpu else [*_here(), *_service()]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            remedy = f" — {finding.remedy}" if finding.remedy else ""
            print_line(printable(f"{_MARKS[finding.status]}  {finding.check}: {finding.message}{remedy}"))
    return ExitCode.LOCAL if any(finding.status == "broken" for finding in findings) else ExitCode.OK


def _gpu() -> list[Finding]:
    missing = Finding("GPU", "broken", "the client alone does not use one", "install the service's package: make setup")
    return list(found_here("gpu_checks")) or [missing]


def _here() -> Iterator[Finding]:
    from fqt_client import __version__  # noqa: PLC0415 - not known yet while the package is being loaded

    yield Finding("client", "ok", f"version {__version__} on Python {platform.python_version()}")
    yield from _config_file()
    yield from found_here()


def _config_file() -> Iterator[Finding]:
    path = config_file()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # without one the environment says where the service is, or nobody does
    if mode & 0o077:
        yield Finding("configuration", "broken", f"others can read the key in {path}", f"chmod 600 {path}")


def _service() -> Iterator[Finding]:
    try:
        client = connect()
    except NotConfiguredError as error:
        yield Finding("service", "broken", str(error), error.remedy)
        return
    with client:
        yield from ask(client)


def ask(client: Client) -> Iterator[Finding]:
    """What is wrong with a service, as far as its answers tell; the first that is fatal is the last."""
    try:
        answer = _get(client, "/healthz")
    except CannotConnectError as error:
        yield Finding("service", "broken", str(error), error.remedy)
        return
    except FqtClientError as error:
        yield Finding("service", "broken", line_of(error), "check FQT_API_URL and FQT_ALLOWED_HOSTS")
        return
    yield Finding("service", "ok", f"answers at {client.config.base_url} (from {client.config.source})")
    yield from _clock(answer)
    yield from _version(client)
    yield from _readiness(client)
    yield from _key(client)


def _get(client: Client, path: str) -> httpx.Response:
    return client._transport.request("GET", path, timeout=PROBE_SECONDS, retries=0)


def _clock(answer: httpx.Response) -> Iterator[Finding]:
    try:
        there = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return
    skew = (datetime.now(UTC) - there).total_seconds()
    if abs(skew) > SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        message = f"this machine's clock is {abs(skew):.0f} s {way} the service's"
        yield Finding("clock", "warning", message, "let both machines keep their time by NTP")
    else:
        yield Finding("clock", "ok", "this machine and the service agree")


def _version(client: Client) -> Iterator[Finding]:
    from fqt_client import __version__  # noqa: PLC0415

    try:
        there = str(client._transport.json("GET", "/openapi.json", timeout=PROBE_SECONDS, retries=0)["info"]["version"])
    except (FqtClientError, LookupError, TypeError):
        yield Finding("version", "warning", "the service does not tell its version", "is it an fqt service?")
        return
    if there == __version__:
        yield Finding("version", "ok", f"client and service are both {there}")
    else:
        message = f"the service is {there}, this client {__version__}"
        yield Finding("version", "warning", message, f"install fqt-client=={there}, or update the service")


def _readiness(client: Client) -> Iterator[Finding]:
    try:
        ready = _get(client, "/readyz").json()
    except ServerFaultError as error:
        remedy = "see its log; start what it names, and check FQT_DATABASE_URL and FQT_BROKER_URL there"
        yield Finding("readiness", "broken", str(error), remedy)
        return
    except FqtClientError as error:
        yield Finding("readiness", "broken", line_of(error))
        return
    yield Finding("readiness", "ok", "the database and the broker answer")
    if not ready.get("worker"):
        message = "no worker answers: jobs are accepted and wait"
        yield Finding("workers", "broken", message, "start one with the same broker and database: fqt worker")


def _key(client: Client) -> Iterator[Finding]:
    """Try what each scope opens. A dry run makes nothing; it also tells what no worker serves."""
    scopes: list[str] = []
    tries: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("read", "GET", "/v1/jobs", {"params": {"limit": 1}}),
        ("write", "POST", "/v1/jobs", {"params": {"dry_run": "true"}, "json": {"dataset": "digits"}}),
        ("admin", "GET", "/v1/keys", {}),
    )
    for scope, method, path, options in tries:
        try:
            answer = client._transport.request(method, path, timeout=PROBE_SECONDS, retries=0, **options)
        except AuthenticationError as error:
            remedy = "set FQT_API_KEY to a valid key; `fqt keys create` makes one on the service's machine"
            yield Finding("key", "broken", str(error), remedy)
            return
        except PermissionDeniedError:
            continue
        except ApiError as error:
            yield Finding("key", "warning", f"the scope {scope} cannot be tried: {line_of(error)}")
            continue
        except FqtClientError as error:
            yield Finding("service", "broken", line_of(error))
            return
        scopes.append(scope)
        if scope == "write":
            for warning in answer.json().get("warnings") or []:
                yield Finding("workers", "warning", f"for a job with defaults: {warning.get('message')}")
    message = f"valid, with {', '.join(scopes) or 'no scope'}"
    if "write" in scopes:
        yield Finding("key", "ok", message)
    else:
        yield Finding("key", "warning", message, "to submit jobs, use a key with the scope write")
