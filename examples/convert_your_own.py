"""Convert a network of your own to 1-bit training, and train it with your own loop.

The cells (``# %%``) run in a notebook as well; ``python examples/convert_your_own.py`` runs all of them.
"""

# %% A network that knows nothing of one bit
import torch
from torch import nn
from torch.nn import functional

import fqt_core as fqt

torch.manual_seed(0)


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A convolution, its batch normalisation and an activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


model = nn.Sequential(
    block(1, 32, 1),
    block(32, 64, 2),
    block(64, 64, 1),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(64, 10),
)

# %% Convert it in place. The report says what was done to each layer, and why; the first and the last one stay as they
# are. The preset is the family's most accurate point: this network learns from scratch
report = fqt.convert_(model, fqt.Method("fqt", preset="accurate"), seed=0)
for row in report.rows:
    print(f"{row.name or 'model':5} {row.action:9} {row.arithmetic:8} {row.gradient or row.reason}")
print(f"{report.binary_share:.0%} of the weights are one bit; products run on the kernels: {report.isa}")

# %% Train it as any other network: parameters, optimiser and loop are yours
data = fqt.data.load_dataset("digits", channels=1, image_size=16)
images = torch.from_numpy(data.images).float() / 255 - 0.5
labels = torch.from_numpy(data.labels)
training, held_out = slice(0, 1500), slice(1500, None)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for epoch in range(5):
    model.train()
    for batch in torch.randperm(1500).split(50):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = (model(images[held_out]).argmax(1) == labels[held_out]).float().mean()
    print(f"epoch {epoch + 1}: loss {loss:.3f}, accuracy {right:.1%}")
