"""How far a plan is, in one line."""

from __future__ import annotations

import io

import pytest

from mmpkd import progress as module
from mmpkd.progress import Board, Progress, Reporter, duration


@pytest.fixture
def said() -> list[tuple[int, str]]:
    return []


def test_a_cell_started_again_counts_its_steps_once(said):
    board = Board([4, 4], 1, lambda *told: said.append(told))
    for steps in (1, 3, 2, 4):
        board.at(0, steps)
    assert said[-1] == (4, "1 of 3 cells, 4 of 8 epochs")
    assert [done for done, _ in said] == [0, 1, 3, 3, 4]


def test_early_stopping_counts_the_epochs_that_it_saves(said):
    board = Board([10, 4], 0, lambda *told: said.append(told))
    board.at(0, 3)
    board.end(0)
    assert said[-1] == (10, "1 of 2 cells, 10 of 14 epochs")
    board.at(1, 9)
    assert said[-1] == (14, "1 of 2 cells, 14 of 14 epochs")


def test_steps_of_all_trainings_in_a_cell_add_up():
    reported: list[int] = []
    reporter = Reporter(reported.append)
    for _ in range(2):
        with reporter.bar("training", 3) as advance:
            advance(1)
            advance(2)
    assert reported == [1, 3, 4, 6]


def test_a_log_has_a_line_now_and_then_and_quiet_mode_none(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    for quiet, expected in ((False, "students: 0 of 1 cells, 3 of 4 epochs\nstudents: done\n"), (True, "")):
        monkeypatch.setattr("sys.stderr", written := io.StringIO())
        with Progress(quiet).plan("students", [4]) as board:
            board.at(0, 1)
            now[0] += 31
            board.at(0, 3)
        assert written.getvalue() == expected


def test_a_terminal_has_one_line_with_the_time_left(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = [0.0]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    monkeypatch.setattr("sys.stderr", written := Terminal())
    with Progress(quiet=False).plan("students", [4, 4], finished=1) as board:
        now[0] = 20.0
        board.at(0, 2)
    assert "1 of 3 cells, 2 of 8 epochs, about 60 s left" in written.getvalue()


@pytest.mark.parametrize(("seconds", "words"), [(5, "5 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds, words):
    assert duration(seconds) == words
