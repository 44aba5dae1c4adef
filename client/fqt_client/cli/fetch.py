"""`fqt fetch`: download what a job left behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fqt_client.cli.output import bytes_text, print_json, print_table, transfer_bar
from fqt_client.cli.session import JobArgument, JsonOption, connect, job_id
from fqt_client.download import file_sha256
from fqt_client.errors import LocalFileError, NotFoundError
from fqt_client.models import Artifact

app = typer.Typer()


@app.command(rich_help_panel="Jobs")
def fetch(
    job: JobArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to; default: the job's id.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only the file with this name or kind (model, weights, report).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are not this job's.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a job's files: the packed 1-bit model, the full weights, the report. Each is checked by its sha256.

    What is there already is not fetched again; files of another job are overwritten with `--force` only.
    """
    with connect() as client:
        identity = job_id(client, job)
        if only:
            artifacts = [client.jobs.artifact(identity, name) for name in only]
        else:
            artifacts = list(client.jobs.artifacts(identity))
        if not artifacts:
            state = client.jobs.get(identity).state
            raise NotFoundError(f"job {identity} is {state} and has no files", status=404, code="not_found")
        folder = output or Path(identity)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if folder.is_file() else error.strerror
            message = f"cannot make the folder {folder}: {reason}"
            raise LocalFileError(message, remedy="name another folder with -o") from error
        if not force:
            _refuse_to_overwrite(identity, artifacts, folder)
        files = []
        for artifact in artifacts:
            with transfer_bar(f"Fetching {artifact.name}", shown=not as_json) as progress:
                files.append((artifact, client.jobs.download(identity, artifact, folder, progress=progress)))
    if as_json:
        print_json([{**artifact.raw, "path": str(path)} for artifact, path in files])
        return
    rows = [(artifact.kind, bytes_text(artifact.size), path) for artifact, path in files]
    print_table(("kind", "size", "file"), rows, empty="no files")
    model = next((path for artifact, path in files if artifact.kind == "model"), None)
    if model is not None and model.suffix == ".txt":
        print("\nPredict with it: fqt models predict MODEL rows.csv (`fqt models list` shows its id)")
    elif model is not None:
        print(f"\nPredict with it: fqt predict {model} IMAGE…")


def _refuse_to_overwrite(job: str, artifacts: Sequence[Artifact], folder: Path) -> None:
    """Look before anything is fetched, so that no folder ends with files of two jobs.

    Raises:
        LocalFileError: a file is in the way that is not the one of this job.
    """
    foreign = []
    for artifact in artifacts:
        path = folder / Path(artifact.name).name
        try:
            if path.is_file() and file_sha256(path) != artifact.sha256:
                foreign.append(path.name)
        except OSError as error:
            raise LocalFileError(f"cannot read {path}: {error.strerror}") from error
    if foreign:
        has = "has" if len(foreign) == 1 else "have"
        raise LocalFileError(
            f"{folder} holds files that are not of {job}: {', '.join(foreign)} {has} other contents",
            remedy="name another folder with --output, or overwrite them with --force",
        )
