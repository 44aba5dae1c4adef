"""What networks learn, measured: ``python -m benchmarks.accuracy --protocol NAME --methods … --seeds N --json FILE``.

A protocol (:mod:`benchmarks.accuracy.protocols`) is that of arXiv 2408.14267 in small: a network is pre-trained at one
bit with full-precision gradients on some classes, then fine-tuned with each method on other classes, from a head that
starts fresh. Pre-training, order of images and split are drawn anew for each seed. Each method's learning rate is
chosen on validation images, from the same grid for all (``--grid-seeds N``: on the first N seeds, and the others are
trained at that rate alone); only then the test images are looked at, once.

Writes a list with an object per run: ``protocol, net, method, options, seed, learning_rate, val, test`` (accuracies,
0 to 1; ``test`` only of the rate that was chosen), ``seconds``, ``cpu_seconds`` (of the process: other work on the
machine hardly changes them), ``images_per_second``, ``isa``, ``threads``, ``weights_sha256`` and ``epochs``, a list of
``epoch, seconds, cpu_seconds, val, train_loss``.
"""
