from __future__ import annotations

from jobs.states import ACTIVE, LEGAL, TERMINAL, JobState


def test_the_table_names_every_state_and_only_states() -> None:
    assert set(LEGAL) == set(JobState)
    assert set().union(*LEGAL.values()) <= set(JobState)


def test_every_state_can_be_reached_and_left_for_an_end() -> None:
    reached = {JobState.QUEUED}
    while more := set().union(*(LEGAL[state] for state in reached)) - reached:
        reached |= more
    assert reached == set(JobState)
    for state in set(JobState) - TERMINAL:
        ahead = {state}
        while more := set().union(*(LEGAL[other] for other in ahead)) - ahead:
            ahead |= more
        assert ahead & TERMINAL


def test_ends_are_ends_and_no_move_goes_nowhere() -> None:
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == TERMINAL
    assert all(state not in targets for state, targets in LEGAL.items())
    assert not ACTIVE & TERMINAL
    assert all(state.active == (state in ACTIVE) and state.terminal == (state in TERMINAL) for state in JobState)


def test_a_job_gets_into_a_workers_hands_only_from_the_queue() -> None:
    sources = {state for state, targets in LEGAL.items() if JobState.RUNNING in targets}
    assert sources == {JobState.QUEUED}
