"""``python -m worker.gpu_child``: print as JSON what :mod:`worker.gpu` wants to know. Imports torch."""

from __future__ import annotations

import json
import sys

import torch


def main() -> None:
    """Print the GPU's name, or the reason why torch can use none."""
    if torch.cuda.is_available():
        name, reason = torch.cuda.get_device_name(), ""
    else:
        name, reason = None, f"torch {torch.__version__} can use no GPU"
    sys.stdout.write(json.dumps({"name": name, "reason": reason}))


if __name__ == "__main__":
    main()
