"""``python -m benchmarks.compare`` without its servers: the runs that it makes, and the page that shows the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import compare, results
from benchmarks.pipes import ROOT
from benchmarks.service import place
from jobs import compare as domain
from jobs import database
from jobs.tables import DEFAULT_ORGANISATION


def test_the_runs_are_whole_differ_and_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("RUNS", 3), ("POINTS", 600), ("RUNNING_POINTS", 7)):
        monkeypatch.setattr(compare, name, value)
    store = place.opened(tmp_path, f"sqlite:///{tmp_path / 'fqt.db'}")
    job_ids, _ = compare._seed(store)
    for points in (600, 607):
        with database.snapshot(store.engine) as connection:
            found = domain.compare(connection, job_ids, organisation=DEFAULT_ORGANISATION)
        assert found.differing == ["training.learning_rate", "training.seed"]
        assert [[figure.name for figure in job.figures] for job in found.jobs] == [sorted(compare._FIGURES)] * 3
        assert {figure.points for job in found.jobs for figure in job.figures} == {points}
        compare._run_on(store, job_ids)
    store.close()


def test_the_page_shows_what_is_stored() -> None:
    table = compare.render(results.read([compare._PATH]))
    page = (ROOT / "docs" / "compare.md").read_text()
    assert table in page
