"""Download one file: resumed where it broke off, checked against its sha256, and in place all at once."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx

from fqt_client.archive import ProgressCallback
from fqt_client.errors import ApiError, CannotConnectError, ChecksumError, LocalFileError
from fqt_client.transport import AsyncTransport, backoff, worth_repeating

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK = 1 << 18


class Stored(Protocol):
    """What the service says of a file that it has."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def sha256(self) -> str:
        """Its digest, 64 hexadecimal digits."""


async def save(
    transport: AsyncTransport,
    url: str,
    stored: Stored,
    target: Path | str,
    name: str,
    progress: ProgressCallback | None,
) -> Path:
    """Fetch ``url`` to ``target``, or into it under ``name`` if it is a folder; see :func:`download`."""
    path = Path(target)
    if path.is_dir():
        # Only the last part of the name: a service must not choose where on this machine a file lands.
        path = path / (Path(name).name or "download")
    return await download(transport, url, path, size=stored.size, sha256=stored.sha256, progress=progress)


async def download(
    transport: AsyncTransport,
    url: str,
    target: Path,
    *,
    size: int,
    sha256: str,
    progress: ProgressCallback | None = None,
) -> Path:
    """Fetch ``url`` to ``target``.

    The bytes go to ``<target>.part`` first; if that is there already from a download that broke off, only the rest is
    asked for. A file at ``target`` that has the right sha256 already is left as it is.

    Args:
        transport: where to ask.
        url: path from the base URL.
        target: file to write.
        size: bytes that the file has.
        sha256: its digest, 64 hexadecimal digits.
        progress: called with the bytes so far and ``size``.

    Raises:
        ChecksumError: the bytes are not the announced ones, also on a second try from the start.
        CannotConnectError: the connection broke too often.
        ApiError: the service refused it.
        LocalFileError: the file cannot be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        if target.is_file() and await transport.wire.run(file_sha256, target) == sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # A stale .part may belong to another file: a second try starts from nothing.
        for _ in range(2):
            digest = await _fetch(transport, url, part, size, progress)
            if digest == sha256 and part.stat().st_size == size:
                part.replace(target)
                return target
            part.unlink(missing_ok=True)
    except OSError as error:
        raise LocalFileError(f"cannot write {error.filename or target}: {error.strerror}") from error
    raise ChecksumError(
        f"the download of {target.name} is damaged: its sha256 is {digest}, announced was {sha256}",
        remedy="try again; if it stays so, the file is damaged on the service's disk",
    )


def file_sha256(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


async def _fetch(transport: AsyncTransport, url: str, part: Path, size: int, progress: ProgressCallback | None) -> str:
    attempt = furthest = 0
    while True:
        digest: _Hash = hashlib.sha256()
        done = await transport.wire.run(_digest_of_part, part, digest, size)
        if done == size and size > 0:
            return digest.hexdigest()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        try:
            async with transport.stream(url, headers=headers) as reply:
                if reply.status_code != httpx.codes.PARTIAL_CONTENT and done:
                    digest, done = hashlib.sha256(), 0
                with part.open("ab" if done else "wb") as stream:
                    async with aclosing(transport.wire.blocks(reply)) as blocks:
                        async for block in blocks:
                            stream.write(block)
                            digest.update(block)
                            done += len(block)
                            if done > furthest:
                                attempt, furthest = 0, done
                            if progress is not None:
                                progress(done, size)
            return digest.hexdigest()
        except httpx.TransportError as broken:
            error: CannotConnectError | ApiError = transport.cannot_connect(broken)
        except ApiError as refused:
            if not worth_repeating(refused):
                raise
            error = refused
        if attempt >= transport.retries:
            raise error
        await transport.wire.sleep(backoff(attempt, error.retry_after if isinstance(error, ApiError) else None))
        attempt += 1


def _digest_of_part(part: Path, digest: _Hash, size: int) -> int:
    """Feed what is there already to ``digest`` and return its length; a part that is too long is dropped."""
    if not part.is_file():
        return 0
    if part.stat().st_size > size:
        part.unlink()
        return 0
    done = 0
    with part.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            done += len(block)
    return done
