"""Pre-train with full-precision gradients, then fine-tune with gradients of one bit on average, on other classes.

The cells (``# %%``) run in a notebook as well; ``python examples/fine_tune.py`` runs all of them.
"""

# %% What is trained on what. "digits" is built in; a folder with one folder of images per class, a zip of it, IDX and
# NPZ are read in the same way
from pathlib import Path
from tempfile import mkdtemp

import fqt_core as fqt
from fqt_core.config import Resnet18
from fqt_core.training import prepare

folder = Path(mkdtemp(prefix="fqt-example-"))
network = Resnet18(width=0.25, image_size=16, channels=1)


def train(name: str, **options: object) -> Path:
    """Train, say how it goes, and give the folder of the results."""
    session = prepare(architecture=network, data="digits", **options)
    for event in session.run(folder / name):
        if event.type == "epoch":
            print(f"{name}: epoch {event.epoch}, loss {event.train_loss:.3f}, accuracy {event.validation_accuracy:.1%}")
        elif event.type == "artifact":
            print(f"{name}: wrote {Path(event.path).name}, {event.size} bytes")
    return folder / name


# %% Digits 0 to 4: one bit forward, full-precision gradients
before = train(
    "qat",
    classes=["0", "1", "2", "3", "4"],
    method=fqt.Method("qat"),
    training=fqt.TrainConfig(epochs=3, batch_size=64, learning_rate=3e-3, seed=7),
)

# %% Digits 5 to 9, from those weights: weights, activations and gradients at one bit on average
after = train(
    "fqt",
    classes=["5", "6", "7", "8", "9"],
    method=fqt.Method("fqt", bits=4, pruning="systematic"),
    training=fqt.TrainConfig(epochs=4, batch_size=64, learning_rate=1e-3, seed=7),
    initial_weights=before / "weights.safetensors",
)

# %% The model that is left: one bit per binarised weight
packed = after / "model.safetensors"
model = fqt.export.load(packed)
print(f"{packed} tells {', '.join(model.classes)} apart; accuracy {model.metrics['validation_accuracy']:.1%}")
