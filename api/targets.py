"""URLs in requests to which the service is to connect."""

from __future__ import annotations

from collections.abc import Collection

from api.problems import FieldError, UrlRefused
from jobs import urls
from jobs.errors import UrlRefusedError
from jobs.urls import Target


def target(url: str, *, private: bool, ports: Collection[int] | None = None, plain: bool = True) -> Target:
    """The URL of the field ``url``, taken apart: see :func:`jobs.urls.parse`.

    What its name means is asked by whoever connects, once.

    Raises:
        UrlRefused: it is not connected to.
    """
    try:
        return urls.parse(url, private=private, ports=ports, plain=plain)
    except UrlRefusedError as error:
        raise UrlRefused(errors=[FieldError(field="url", message=str(error))]) from None
