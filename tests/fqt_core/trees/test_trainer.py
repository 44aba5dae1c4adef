"""Whole runs: what they tell and leave, and that one which was stopped ends as if it had not been."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest

from fqt_core.config.table import TableConfig
from fqt_core.config.tree_methods import Gbdt
from fqt_core.errors import CheckpointError, ConfigurationError, DataError
from fqt_core.events import CheckpointWritten, EpochDone, Event, FullPrecisionDone, Started
from fqt_core.trees.model import TreeModel, save_trees
from fqt_core.trees.problem import Problem, pose
from fqt_core.trees.table import read_table
from fqt_core.trees.trainer import Grown, grow

from .tables import numbers, problem, shops

METHOD = Gbdt(iterations=50, num_leaves=7)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shops(tmp_path_factory.mktemp("table") / "shops.csv")


def _run(posed: Problem, method: Gbdt = METHOD, **options: object) -> tuple[Grown | None, list[Event]]:
    events: list[Event] = []
    return grow(posed, method, seed=7, threads=2, report=events.append, **options), events  # type: ignore[arg-type]


def _of(kind: type, events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_quantised_and_full_precision_trees_are_compared_and_predict(table: Path, tmp_path: Path) -> None:
    posed = problem(table)
    grown, events = _run(posed)
    assert grown is not None
    assert grown.full_precision is not None
    (started,) = _of(Started, events)
    assert (started.classes, started.train_images, started.validation_images) == (["fair", "good", "poor"], 450, 150)
    assert (started.arithmetic, started.isa, started.total_steps) == ("integer", "lightgbm", 50)
    rows, others = _of(EpochDone, events), _of(FullPrecisionDone, events)
    assert [row.step for row in rows] == [row.step for row in others] == list(range(1, 51))
    assert rows[-1].train_loss < rows[0].train_loss / 3
    assert [row.train_loss for row in rows] != [row.train_loss for row in others]
    # The metrics are those of the models, told independently.
    done = grown.done
    assert done.tabular is not None
    for text, result in ((grown.model, done.tabular.kept), (grown.full_precision, done.tabular.full_precision)):
        assert result is not None
        held = posed.validation
        shares = lightgbm.Booster(model_str=text).predict(posed.features[held])
        truth = posed.labels[held].astype(int)
        assert result.validation_loss == pytest.approx(-np.log(shares[np.arange(len(held)), truth]).mean(), rel=1e-6)
        assert result.validation_accuracy == pytest.approx(np.mean(shares.argmax(1) == truth))
        assert result.validation_accuracy > 0.8
    best = min(rows, key=lambda row: row.validation_loss)
    assert (done.best_epoch, done.validation_loss) == (best.step, best.validation_loss)
    assert done.confusion is not None
    assert sum(done.confusion.right) / done.confusion.images == pytest.approx(done.validation_accuracy)
    assert 0.8 < done.tabular.agreement <= 1

    path = tmp_path / "model.txt"
    save_trees(path, grown.model, posed)
    model = TreeModel.load(path)
    rows_given = [{"size": 2.0, "town": "town 4", "open": True}, {"size": -2, "town": None, "grade": "?"}]
    shares = model.scores(model.encode(rows_given))
    assert [model.facts.classes[n] for n in shares.argmax(1)] == ["good", "poor"]
    assert shares.sum(1) == pytest.approx(1)
    assert (model.scores(model.encode([{"town": "nowhere"}])) == model.scores(model.encode([{}]))).all()
    for wrong in ({"town": 3}, {"size": "big"}, {"open": "yes"}, {"weight": 1}, {"size": [1]}):
        with pytest.raises(DataError) as caught:
            model.encode([{}, wrong])
        assert caught.value.where == f"rows.1.{next(iter(wrong))}"
    path.write_text(grown.model)
    with pytest.raises(CheckpointError, match="no model of trees"):
        TreeModel.load(path)


@pytest.mark.parametrize("target", ["grade", "price"])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(table: Path, tmp_path: Path, target: str) -> None:
    posed = problem(table, target)
    whole, events = _run(posed)
    asked = iter(range(10_000))
    stopped, before = _run(posed, checkpoint_dir=tmp_path, should_stop=lambda: next(asked) >= 70)
    assert stopped is None
    (checkpoint,) = _of(CheckpointWritten, before)
    assert checkpoint.step == 20
    resumed, after = _run(posed, resume_from=checkpoint.path)
    assert _of(Started, after)[0].step == 20
    assert whole is not None
    assert resumed is not None
    assert (resumed.model, resumed.full_precision) == (whole.model, whole.full_precision)
    told = {(type(event), event.step, event.train_loss) for event in _of(EpochDone, events) if event.step > 20}
    assert told == {(type(event), event.step, event.train_loss) for event in _of(EpochDone, after)}
    drop = {"seconds": 0, "tabular": None}
    assert resumed.done.model_copy(update=drop) == whole.done.model_copy(update=drop)
    with pytest.raises(CheckpointError, match="another method"):
        _run(posed, METHOD.model_copy(update={"num_leaves": 8}), resume_from=checkpoint.path)


def test_regression_ends_early_and_alone_in_full_precision(table: Path) -> None:
    posed = problem(table, "price")
    method = Gbdt(iterations=400, learning_rate=0.5, use_quantized_grad=False, bagging_fraction=0.5)
    grown, events = _run(posed, method, patience=5)
    assert grown is not None
    assert not _of(FullPrecisionDone, events)
    done = grown.done
    assert (done.reason, done.step - done.best_epoch, done.validation_accuracy) == ("early_stopped", 5, None)
    assert done.tabular is not None
    assert (grown.full_precision, done.tabular.full_precision, done.tabular.agreement) == (None, None, None)
    truth = posed.labels[posed.validation]
    predicted = lightgbm.Booster(model_str=grown.model).predict(posed.features[posed.validation])
    explained = 1 - ((predicted - truth) ** 2).mean() / truth.var()
    assert done.tabular.kept.validation_r2 == pytest.approx(explained, abs=1e-6)
    assert explained > 0.8


def test_what_cannot_be_posed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "any.csv"
    path.write_text("a,b,c,d\n1,x,,1.5\n2,y,,2.5\n,x,,1.5\n")
    table = read_table(path)
    for config, message in (
        (TableConfig(target="z"), "no such column"),
        (TableConfig(target="c"), "no values"),
        (TableConfig(target="b", objective="regression"), "needs a target of numbers"),
        (TableConfig(target="a", ignore=("q",)), "no column 'q'"),
        (TableConfig(target="a", ignore=("b", "d")), "no column to learn from"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            pose(table, config, validation_fraction=0, seed=0)
    posed = pose(table, TableConfig(target="a"), validation_fraction=0, seed=0)
    assert (posed.objective, posed.classes, posed.left_out) == ("classification", ("1", "2"), 1)
    assert pose(table, TableConfig(target="d"), validation_fraction=0, seed=0).objective == "regression"
    for value in (1e31, -np.inf):
        with pytest.raises(ConfigurationError, match="beyond 1e\\+30: scale it down"):
            numbers(np.arange(60.0)[:, None], np.array([value, *np.linspace(0, 1, 59)]))
