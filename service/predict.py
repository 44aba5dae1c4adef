"""`fqt predict`: classes of images, from a model file, on this machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fqt_client.cli.output import print_json, print_line, print_table, share_text, transfer_bar
from fqt_client.cli.session import connect, job_id
from fqt_client.errors import LocalFileError
from fqt_core.data.names import is_junk
from fqt_core.errors import FqtError

if TYPE_CHECKING:
    from fqt_core.export import PackedModel, Prediction

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


@dataclass(frozen=True)
class ImageFile:
    """An image, and the names of the folders that it is in below the one that was named, the outermost first."""

    path: Path
    folders: tuple[str, ...] = ()

    def true_class(self, classes: Collection[str]) -> str | None:
        """The class that its folders name, the innermost first; ``None`` if none of them is a class."""
        return next((name for name in reversed(self.folders) if name in classes), None)


def run(model: str, images: Sequence[Path], *, top: int, as_json: bool) -> None:
    """Predict and show.

    Raises:
        LocalFileError: the model or an image cannot be read.
        FqtClientError: the model is one of the service, and its file cannot be fetched.
    """
    files = image_files(images)
    path = model_file(model, quiet=as_json)
    packed = load(path)
    predictions = predict(packed, [file.path for file in files], top=top)
    truths = [file.true_class(packed.classes) for file in files]
    score = _score(truths, predictions)
    if as_json:
        print_json(
            {
                "model": str(path),
                "classes": list(packed.classes),
                "accuracy": score,
                "predictions": [
                    {
                        "image": str(file.path),
                        "true": truth,
                        "label": prediction.label,
                        "probability": prediction.probability,
                        "top": [{"label": label, "probability": share} for label, share in prediction.top],
                    }
                    for file, truth, prediction in zip(files, truths, predictions, strict=True)
                ],
            }
        )
        return
    count = max(len(prediction.top) for prediction in predictions)
    known = ("true",) if score is not None else ()
    columns = ("image", *known, "prediction", *(f"{index}." for index in range(2, count + 1)))
    rows = [
        (
            file.path,
            *(truth or "–" for _ in known),
            *(f"{label} ({share_text(share)})" for label, share in prediction.top),
        )
        for file, truth, prediction in zip(files, truths, predictions, strict=True)
    ]
    print_table(columns, rows, empty="no images")
    if score is not None:
        shown = f"{share_text(score['share'])} ({score['right']} of {score['images']} images whose folder is a class)"
        print_line(f"\naccuracy  {shown}")


def _score(truths: Sequence[str | None], predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """How many of the images with a known class are predicted right; ``None``: no class is known."""
    verdicts = [
        prediction.label == truth for truth, prediction in zip(truths, predictions, strict=True) if truth is not None
    ]
    if not verdicts:
        return None
    return {"images": len(verdicts), "right": sum(verdicts), "share": sum(verdicts) / len(verdicts)}


_TREES = b"tree\nversion="
"""What LightGBM's text begins with."""


def model_file(model: str, *, quiet: bool = False) -> Path:
    """The file of a model: ``model`` itself if it is one, else that of the job or of the model, fetched once.

    Raises:
        LocalFileError: there is no such file, and it is neither a job nor a model of the service.
    """
    path = Path(model)
    if path.is_file():
        return path
    if path.suffix or os.sep in model or not (model == "last" or model.startswith(("job_", "mdl_"))):
        raise LocalFileError(
            f"there is no model file {model}", remedy="fetch one with `fqt fetch JOB`, or name the job or the model"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fqt" / "models"
    with connect() as client:
        if model.startswith("mdl_"):
            with transfer_bar(f"Fetching {model}", shown=not quiet) as progress:
                return client.models.download(model, cache / f"{model}.safetensors", progress=progress)
        identity = job_id(client, model)
        with transfer_bar(f"Fetching the model of {identity}", shown=not quiet) as progress:
            return client.jobs.download(identity, "model", cache / f"{identity}.safetensors", progress=progress)


def image_files(paths: Sequence[Path]) -> list[ImageFile]:
    """The image files that ``paths`` name; a folder stands for the images in it, at any depth, but for hidden ones.

    Raises:
        LocalFileError: a path does not exist, or a folder has no images.
    """
    files: list[ImageFile] = []
    for path in paths:
        if path.is_dir():
            below = sorted(
                file.relative_to(path)
                for file in path.rglob("*")
                if file.suffix.lower() in IMAGE_ENDINGS and file.is_file()
            )
            found = [ImageFile(path / file, file.parent.parts) for file in below if not is_junk(file.as_posix())]
            if not found:
                raise LocalFileError(
                    f"there are no images in {path}", remedy=f"known are {', '.join(sorted(IMAGE_ENDINGS))}"
                )
            files.extend(found)
        elif path.is_file():
            files.append(ImageFile(path))
        else:
            raise LocalFileError(f"there is no image {path}")
    return files


def load(path: Path) -> PackedModel:
    """Read a packed model.

    Raises:
        LocalFileError: the file is damaged, or no model of this project.
    """
    from fqt_core import export  # noqa: PLC0415 - brings torch in

    try:
        with path.open("rb") as file:
            if file.read(len(_TREES)) == _TREES:
                raise LocalFileError(
                    f"{path} holds trees, which predict no images", remedy="fqt models predict MODEL rows.csv"
                )
        return export.load(path)
    except (FqtError, OSError, ValueError) as error:
        raise LocalFileError(
            f"cannot use the model {path}: {error}", remedy="fetch it again with `fqt fetch`"
        ) from error


def predict(model: PackedModel, files: Sequence[Path], *, top: int) -> list[Prediction]:
    """Predict the classes of image files.

    Raises:
        LocalFileError: an image cannot be read; the message names it.
    """
    try:
        return model.predict(list(files), top=top)
    except (FqtError, OSError, ValueError) as error:
        raise LocalFileError(f"cannot predict: {error}") from error
