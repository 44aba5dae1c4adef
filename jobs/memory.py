"""The memory that a job would take, told before anything runs."""

from __future__ import annotations

from sqlalchemy import Connection, select

from fqt_core.code_pages import MOST_BYTES
from fqt_core.config import Fp32
from fqt_core.config.plan import NetworkPlan, network_plan
from fqt_core.config.search import obstacles
from fqt_core.config.setting import probed_images
from jobs.spec import JobSpec
from jobs.tables import jobs

_PROCESS_BYTES = 400 * 2**20 + MOST_BYTES  # Python, torch and its libraries, before any data; code on large pages
_FLOAT_BYTES = 4
# Float values per parameter: weight, gradient, two moments of Adam, and the copy of the best epoch.
_VALUES_PER_PARAMETER = {"adam": 5, "sgd": 4, "muon": 5}
_ORTHOGONALISED = 4  # matrices of the size of the largest weight that a step of Muon has at the same time
_BUCKETS, _RESIDUAL = 1, 1  # values per parameter that a process keeps to exchange gradients, and at a few bits
_PASSING_OUTPUTS = 4  # float tensors of a layer's output size that exist at the same time, forward or backward
_PROBED_OUTPUTS = 4  # of every layer's output size that exist at the same time while bits are chosen


def memory_bytes(spec: JobSpec, network: NetworkPlan, teacher: NetworkPlan | None, train: int, images: int) -> int:
    """Estimated memory of the training process, or of all processes of a job that is divided among several.

    Args:
        spec: a valid spec.
        network: its network.
        teacher: the network of its teacher, if it has one.
        train: training images.
        images: all images that the process holds.
    """
    training = spec.training
    batch = min(training.micro_batch_size, train)
    pixels = spec.network.channels * spec.network.image_size**2
    values = _VALUES_PER_PARAMETER[training.optimizer] * network.parameters
    if training.optimizer == "muon":  # one moment of the latents, and the matrices of the largest one
        largest_weight = max(layer.weights for layer in network.layers)
        values += _ORTHOGONALISED * largest_weight - network.binary_parameters
    if training.ema is not None:
        values += network.parameters
    passing = _passing_bytes(network)
    if teacher is not None:  # its forward pass keeps nothing, and ours has not yet made what it keeps
        passing = max(passing, _passing_bytes(teacher))
    going_through = batch * (network.activation_bytes + passing)
    if spec.method.chooses_bits:
        probed = probed_images(batch, spec.network.image_size)
        outputs = sum(layer.out_channels * layer.output_size**2 for layer in network.layers)
        going_through = max(going_through, probed * _PROBED_OUTPUTS * _FLOAT_BYTES * outputs)
    own = images * pixels + _FLOAT_BYTES * values + (teacher.model_bytes if teacher is not None else 0)
    if spec.parallel is None:
        return _PROCESS_BYTES + own + going_through
    kept = _BUCKETS if spec.parallel.gradient_bits is None else _BUCKETS + _RESIDUAL
    own += _PROCESS_BYTES + _FLOAT_BYTES * kept * network.parameters
    return _PROCESS_BYTES + spec.parallel.processes * own + going_through


def _passing_bytes(network: NetworkPlan) -> int:
    """Of one image: what comes and goes while a layer runs."""
    largest = max(layer.out_channels * layer.output_size**2 for layer in network.layers)
    return _PASSING_OUTPUTS * _FLOAT_BYTES * largest


def trained_network(spec: JobSpec, classes: int) -> NetworkPlan:
    """The network that the training process holds: of a search the widest one, whose signs are floats."""
    if spec.search is None or obstacles(spec.network, spec.method):
        return network_plan(spec.network, classes, spec.method)
    return network_plan(spec.search.widest(spec.network), classes, Fp32())


def teacher_network(connection: Connection, spec: JobSpec, classes: int) -> NetworkPlan | None:
    """The network of a spec's teacher, a succeeded job; ``None`` if it has none."""
    if spec.teacher is None:
        return None
    theirs = JobSpec.model_validate(
        connection.execute(select(jobs.c.spec).where(jobs.c.id == spec.teacher)).scalar_one()
    )
    return network_plan(theirs.network, classes, theirs.method)
