"""``python -m tests.mutation``: take away what makes jobs safe, piece by piece, and see a named test fail.

A mutated module is loaded in the place of the real one; no file is changed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType

import pytest

# Loaded before the forks, which share it: what takes long, and nothing of the project itself.
_SHARED = (
    "sqlalchemy",
    "alembic.command",
    "celery",
    "fastapi.testclient",
    "psycopg",
    "pydantic_settings",
    "hypothesis",
)
# Packages that were loaded before the fork have plugins for pytest, whose asserts it would like to rewrite.
_OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")


@dataclass(frozen=True)
class Mutation:
    """In ``module``, ``old`` is replaced by ``new``; ``test`` (a node id, on SQLite where it has a choice) fails."""

    module: str
    old: str
    new: str
    test: str


_ATTEMPTS = "tests/jobs/test_lease.py::test_an_attempt_writes_nothing_once_another_has_the_job[sqlite]"
_STORED = "tests/jobs/test_blobs.py::test_a_file_is_synced_before_it_gets_its_name"
_ONCE = "tests/jobs/test_idempotency.py::test_the_same_request_twice_makes_one_job_and_gets_one_answer[sqlite]"

MUTATIONS = {
    "no epoch guard on an attempt's writes": Mutation(
        "jobs.events", "(jobs.c.id == job_id) & (jobs.c.lease_epoch == epoch)", "(jobs.c.id == job_id)", _ATTEMPTS
    ),
    "no epoch guard on moves": Mutation(
        "jobs.moves",
        "epoch is not None and (row.lease_epoch != epoch or source",
        "epoch is not None and (source",
        _ATTEMPTS,
    ),
    "claims do not raise the epoch": Mutation(
        "jobs.lease", "attempt = found.lease_epoch + 1", "attempt = max(1, found.lease_epoch)", _ATTEMPTS
    ),
    "another organisation's jobs are found": Mutation(
        "jobs.organisations",
        "true() if organisation is None else table.c.organisation_id == organisation",
        "true()",
        "tests/api/test_authorisation.py::test_what_is_another_organisations_does_not_exist",
    ),
    "specs may refer to another organisation's jobs": Mutation(
        "jobs.validation",
        "(jobs.c.id == job_id) & within(jobs, bounds.organisation)",
        "jobs.c.id == job_id",
        "tests/api/test_organisations.py::test_a_spec_refers_to_its_own_organisations_things_only[broken0-]",
    ),
    "keys that have ended open the API": Mutation(
        "jobs.keys",
        "_key(row) if row.opens else None",
        "_key(row)",
        "tests/api/test_authorisation.py::test_no_operation_answers_without_a_valid_key",
    ),
    "streams outlive the key that opened them": Mutation(
        "api.auth",
        "        return False\n    return True",
        "        return True\n    return True",
        "tests/api/test_stream.py::test_a_stream_tells_nothing_more_once_its_key_opens_nothing[DELETE-]",
    ),
    "private addresses are reached by their translation": Mutation(
        "jobs.addresses",
        "_is_public(IPv4Address(int(address) & 0xFFFFFFFF))",
        "True",
        "tests/jobs/test_addresses.py::test_addresses_as_literals_and_as_a_name_servers_answer[64:ff9b::7f00:1-False]",
    ),
    "no epoch guard on the steps of a sweep": Mutation(
        "jobs.sweeps",
        "sweeps.c.lease_epoch == sweep.lease_epoch, ",
        "",
        "tests/jobs/test_sweeps.py::test_who_lost_the_lease_writes_nothing_more[sqlite]",
    ),
    "logs are folded twice": Mutation(
        "jobs.curves",
        "(curves.c.job_id == job_id) & (curves.c.seq == before)",
        "(curves.c.job_id == job_id)",
        "tests/jobs/test_compare.py::test_what_another_process_has_folded_meanwhile_is_not_folded_again[sqlite]",
    ),
    "idempotency keys are not looked at": Mutation(
        "jobs.idempotency", "if idempotency_key is None:", "if idempotency_key != 0:", _ONCE
    ),
    "the API drops idempotency keys": Mutation(
        "api.routes.jobs",
        "idempotency_key=idempotency_key,\n        request=json",
        "idempotency_key=None,\n        request=json",
        "tests/api/test_jobs.py::test_the_same_idempotency_key_makes_one_job",
    ),
    "files are not synced before they get their name": Mutation(
        "jobs.blobs",
        "        os.fsync(self._file.fileno())\n        self._file.close()\n",
        "        self._file.close()\n",
        _STORED,
    ),
    "names of files are not synced": Mutation("jobs.blobs", "        sync_folder(final.parent)\n", "", _STORED),
    "rows are made for files that are gone": Mutation(
        "jobs.blob_rows",
        "if not store.exists(blob.sha256):",
        "if store is None:",
        "tests/jobs/test_blobs.py::test_a_row_is_not_made_for_a_file_that_was_collected[sqlite]",
    ),
    "damaged checkpoints are not noticed": Mutation(
        "jobs.blobs",
        "damaged = file_sha256(path) != sha256",
        "damaged = False",
        "tests/jobs/test_blobs.py::test_a_damaged_file_is_noticed_and_healed_by_storing_it_again",
    ),
}


class _Loader(SourceFileLoader):
    def __init__(self, mutation: Mutation, path: str) -> None:
        super().__init__(mutation.module, path)
        self._mutation = mutation

    def get_code(self, fullname: str) -> CodeType:
        source, (old, new) = self.get_data(self.path).decode(), (self._mutation.old, self._mutation.new)
        if source.count(old) != 1:
            raise ImportError(f"{fullname} has {source.count(old)} times, not once: {old}")
        return self.source_to_code(source.replace(old, new).encode(), self.path)


class _Finder(MetaPathFinder):
    """Finds the mutated module, at the head of all finders."""

    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutation.module:
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(fullname)
        assert found is not None
        assert found.origin is not None
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=_Loader(self._mutation, found.origin)
        )


class Trial:
    """The test of a mutation, run in a fork of this process that begins at once."""

    def __init__(self, mutation: Mutation) -> None:
        self._output = os.memfd_create("output")
        self._pid = os.fork()
        if self._pid == 0:
            for descriptor in (1, 2):
                os.dup2(self._output, descriptor)
            sys.meta_path.insert(0, _Finder(mutation))
            code = pytest.main([*_OPTIONS, mutation.test])
            sys.stdout.flush()
            os._exit(code)

    def end(self) -> tuple[bool, str]:
        """Wait for it; return whether the test failed, and what pytest printed."""
        _, status = os.waitpid(self._pid, 0)
        os.lseek(self._output, 0, os.SEEK_SET)
        with os.fdopen(self._output, "rb") as file:
            output = file.read().decode()
        # A failure of the test itself: neither an error of its set-up, nor a test that is not there.
        failed = os.waitstatus_to_exitcode(status) == pytest.ExitCode.TESTS_FAILED
        return failed and "1 failed" in output and "error" not in _last_line(output), output


def main() -> int:
    """Try every mutation, as many at a time as there are cores. Returns 0 if each was noticed, else 1."""
    for name in _SHARED:
        importlib.import_module(name)
    unnoticed = 0
    names, at_once = list(MUTATIONS), os.cpu_count() or 1
    for first in range(0, len(names), at_once):
        trials = {name: Trial(MUTATIONS[name]) for name in names[first : first + at_once]}
        for name, trial in trials.items():
            noticed, output = trial.end()
            print(f"{'noticed' if noticed else 'NOT NOTICED'}: {name} ({MUTATIONS[name].test})", flush=True)
            if not noticed:
                unnoticed += 1
                print(output)
    return 1 if unnoticed else 0


def _last_line(output: str) -> str:
    return next(iter(output.strip().splitlines()[::-1]), "")


if __name__ == "__main__":
    sys.exit(main())
