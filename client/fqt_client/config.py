"""Where the service is and which key opens it: arguments, then the environment, then the file that `fqt up` writes."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fqt_client.errors import NotConfiguredError
from fqt_client.sendable import fits_header

URL_VARIABLE = "FQT_API_URL"
KEY_VARIABLE = "FQT_API_KEY"
REMEDY = f"start one with `fqt up`, or set {URL_VARIABLE} and {KEY_VARIABLE} to those of a running service"


@dataclass(frozen=True)
class ClientConfig:
    """Base URL of a service, the key for it, and where the two were found."""

    base_url: str
    api_key: str
    source: str

    def __repr__(self) -> str:
        return f"ClientConfig(base_url={self.base_url!r}, api_key='{self.api_key[:8]}…', source={self.source!r})"


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Path of the user's configuration: ``$XDG_CONFIG_HOME/fqt/client.json`` or ``~/.config/fqt/client.json``."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "fqt" / "client.json"


def find_config(
    base_url: str | None = None, api_key: str | None = None, *, environ: Mapping[str, str] = os.environ
) -> ClientConfig:
    """Settle URL and key, each from the first source that has it.

    A key from the file is used only with the URL from the same file, so that it never goes to another service.

    Raises:
        NotConfiguredError: nothing says where the service is, or there is no key for it, or one of them cannot be.
    """
    path = config_file(environ)
    url, url_source = base_url or environ.get(URL_VARIABLE), "arguments" if base_url else "environment"
    key = api_key or environ.get(KEY_VARIABLE)
    if not (url and key):
        stored = read_config_file(path)
        if url is None or url.rstrip("/") == str(stored.get("base_url", "")).rstrip("/"):
            if url is None:
                url, url_source = stored.get("base_url"), str(path)
            key = key or stored.get("api_key")
    if not url:
        raise NotConfiguredError("no service is configured", remedy=REMEDY)
    if not key:
        raise NotConfiguredError(f"there is no API key for {url}", remedy=f"set {KEY_VARIABLE}")
    if not url.startswith(("http://", "https://")):
        raise NotConfiguredError(f"the service URL {url!r} does not start with http:// or https://", remedy=REMEDY)
    if not _is_url(url):
        raise NotConfiguredError(f"the service URL {url!r} is no URL", remedy=REMEDY)
    if not fits_header(key):
        message = "the API key holds blanks, line ends or characters that no key has"
        raise NotConfiguredError(message, remedy=f"set {KEY_VARIABLE} to the key alone: fqt_ and 46 letters and digits")
    return ClientConfig(base_url=url.rstrip("/"), api_key=key, source=url_source)


def _is_url(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return bool(url.host) and (url.port or 0) < 1 << 16


def read_config_file(path: Path) -> dict[str, Any]:
    """The stored configuration, empty if there is none.

    Raises:
        NotConfiguredError: the file is there, but cannot be read or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise NotConfiguredError(f"cannot read {path}: {error}", remedy=f"mend or remove it; {REMEDY}") from error
    if not isinstance(content, dict):
        raise NotConfiguredError(f"{path} holds no JSON object", remedy=f"mend or remove it; {REMEDY}")
    return content


def write_config_file(path: Path, content: Mapping[str, Any]) -> None:
    """Store the configuration so that only the user can read it (mode 0600), all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp makes the file with mode 0600 before the key is in it.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".client-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(dict(content), stream, indent=2)
            stream.write("\n")
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
