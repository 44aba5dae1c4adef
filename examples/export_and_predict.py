"""Export a trained network as a packed file, one bit per binarised weight, and predict with it.

The cells (``# %%``) run in a notebook as well; ``python examples/export_and_predict.py`` runs all of them.
"""

# %% A small network, trained for a moment
from pathlib import Path
from tempfile import mkdtemp

import fqt_core as fqt
from fqt_core.config import Convnet

folder = Path(mkdtemp(prefix="fqt-example-"))
data = fqt.data.load_dataset("digits", channels=1, image_size=16)
model = fqt.models.build(Convnet(image_size=16, channels=1, shortcuts=True), num_classes=len(data.classes))
fqt.convert_(model, fqt.Method("fqt", preset="balanced"), seed=7)
trainer = fqt.Trainer(model, data, fqt.TrainConfig(epochs=4, batch_size=32, learning_rate=3e-3, seed=7))
for event in trainer:
    if event.type == "epoch":
        print(f"epoch {event.epoch}: loss {event.train_loss:.3f}, accuracy {event.validation_accuracy:.1%}")

# %% Packed: the file has the bits of the binarised weights, and everything that is needed to predict
report = fqt.export.save_packed(
    model, folder / "model.safetensors", classes=data.classes, preprocessing=trainer.preprocessing
)
print(f"{report.path}: {report.bytes} bytes, {report.ratio:.1f} times smaller than in FP32")

# %% Predict, in any process, without the code above. Images are paths, Pillow images or arrays
packed = fqt.export.load(folder / "model.safetensors")
for image, label in zip(data.images[:5], data.labels[:5], strict=True):
    (found,) = packed.predict([image], top=3)
    ranked = ", ".join(f"{name} {share:.1%}" for name, share in found.top)
    print(f"a {data.classes[label]}: {ranked}")
