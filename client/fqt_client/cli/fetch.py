"""`fqt fetch`: download what a job left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fqt_client.cli.output import bytes_text, print_json, print_table, transfer_bar
from fqt_client.cli.session import JobArgument, JsonOption, connect, job_id
from fqt_client.errors import LocalFileError, NotFoundError

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
    as_json: JsonOption = False,
) -> None:
    """Download a job's files: the packed 1-bit model, the full weights, the report. Each is checked by its sha256."""
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
