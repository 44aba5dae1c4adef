"""Files that people write: JSON, or YAML where PyYAML is there to read it."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from fqt_client.errors import LocalFileError

_YAML_ENDINGS = {".yaml", ".yml"}
# What YAML 1.2 takes for more than text, but for numbers that begin with zeros, which may be labels. PyYAML follows
# 1.1, where `no` is false and 1e-3 is text.
_YAML_TYPES = {
    "null": r"(?:~|null|)",
    "bool": r"(?:true|false)",
    "int": r"[-+]?(?:0|[1-9][0-9]*)",
    "float": r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
}


def read_object(source: str, *, like: str) -> dict[str, Any]:
    """Read one object from a JSON or YAML file, or JSON from stdin if ``source`` is ``-``.

    Args:
        source: name of the file.
        like: what it must look like, for the error.

    Raises:
        LocalFileError: there is no such file, or it holds no object.
    """
    is_yaml = Path(source).suffix.lower() in _YAML_ENDINGS
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        found = _yaml(text) if is_yaml else json.loads(text)
    except OSError as error:
        raise LocalFileError(f"cannot read {source}: {error.strerror}") from error
    except ValueError as error:
        raise LocalFileError(f"{source} is no {'YAML' if is_yaml else 'JSON'}: {error}") from error
    if not isinstance(found, dict):
        raise LocalFileError(f"{source} holds no object", remedy=f"it must look like {like}")
    return found


def _yaml(text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise LocalFileError(
            "PyYAML, which reads YAML, is not installed", remedy="pip install pyyaml, or write it as JSON"
        ) from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way

    for name, pattern in _YAML_TYPES.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^{pattern}$"), None)
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
