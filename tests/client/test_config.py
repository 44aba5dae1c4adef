from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fqt_client import NotConfiguredError, find_config
from fqt_client.config import config_file, read_config_file, write_config_file


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_arguments_win_over_the_environment_and_that_over_the_file(environ: dict[str, str]) -> None:
    write_config_file(config_file(environ), {"base_url": "http://file:1", "api_key": "fqt_file"})
    assert find_config(environ=environ).base_url == "http://file:1"
    environ |= {"FQT_API_URL": "http://env:1/", "FQT_API_KEY": "fqt_env"}
    found = find_config(environ=environ)
    assert (found.base_url, found.api_key, found.source) == ("http://env:1", "fqt_env", "environment")
    found = find_config("http://arg:1", "fqt_arg", environ=environ)
    assert (found.base_url, found.api_key) == ("http://arg:1", "fqt_arg")


def test_the_key_of_the_file_goes_to_no_other_service(environ: dict[str, str]) -> None:
    write_config_file(config_file(environ), {"base_url": "http://file:1", "api_key": "fqt_file"})
    environ["FQT_API_URL"] = "http://other:1"
    with pytest.raises(NotConfiguredError, match="no API key for http://other:1"):
        find_config(environ=environ)
    assert find_config("http://file:1/", environ={"XDG_CONFIG_HOME": environ["XDG_CONFIG_HOME"]}).api_key == "fqt_file"


def test_nothing_configured_says_how_to_start(environ: dict[str, str]) -> None:
    with pytest.raises(NotConfiguredError) as caught:
        find_config(environ=environ)
    assert "fqt up" in str(caught.value.remedy)


@pytest.mark.parametrize("content", ["{", "[]", '"text"'])
def test_a_damaged_file_is_named(environ: dict[str, str], content: str) -> None:
    path = config_file(environ)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(NotConfiguredError, match=r"client\.json"):
        find_config(environ=environ)


def test_a_url_without_a_scheme_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(NotConfiguredError, match="does not start with http"):
        find_config("localhost:8000", "fqt_x", environ=environ)


@pytest.mark.parametrize("url", ["http://[::1", "http://", "http://a:99999999"])
def test_what_is_no_url_is_said_before_it_is_used(environ: dict[str, str], url: str) -> None:
    with pytest.raises(NotConfiguredError, match="is no URL"):
        find_config(url, "fqt_x", environ=environ)


@pytest.mark.parametrize("key", ["schlüssel", "fqt_x\n", "fqt\rx"])
def test_a_key_that_no_header_can_carry_is_said_without_showing_it(environ: dict[str, str], key: str) -> None:
    with pytest.raises(NotConfiguredError, match="holds blanks, line ends or characters") as caught:
        find_config("http://a:1", key, environ=environ)
    assert key not in str(caught.value)
    assert "FQT_API_KEY" in str(caught.value.remedy)


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "client.json"
    write_config_file(path, {"base_url": "http://x:1", "api_key": "fqt_x"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_config_file(path) == {"base_url": "http://x:1", "api_key": "fqt_x"}
    assert [entry.name for entry in path.parent.iterdir()] == ["client.json"]
