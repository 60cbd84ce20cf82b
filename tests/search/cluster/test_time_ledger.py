"""Overhead on a clock set by hand: what is training, what is not, and that it adds up."""

import pytest

from search.cluster.time_ledger import TimeLedger, summarise


def one_job(
    ledger: TimeLedger, group: str, asked: float, leased: float, began: float, ended: float
):
    ledger.asked(group, asked)
    ledger.asked(group, (asked + leased) / 2)  # asked again: nothing yet
    ledger.leased(group, leased)
    ledger.began(group, began)
    ledger.began(group, (began + ended) / 2)  # the next phase
    ledger.ended(group, ended)
    ledger.ended(group, ended + 0.1)  # written


def test_two_jobs_of_one_group() -> None:
    ledger = TimeLedger()
    one_job(ledger, "a", 1, 2, 3, 10)
    one_job(ledger, "a", 10.2, 14.2, 14.5, 20)
    found = summarise(ledger.entries(25), offset=5.0, wall=30.0)
    assert found is not None
    assert found.start == found.first_step == 8
    assert found.training == 7 + 5.5
    assert found.gap == 4.5
    assert found.waiting == 4
    assert found.between_stages == pytest.approx(0.5)
    assert found.closing == 5
    assert found.fraction == pytest.approx(1 - 12.5 / 30)
    assert sum(found.kinds().values()) + found.training == pytest.approx(30)


def test_groups_are_averaged_and_still_add_up_to_the_wall_time() -> None:
    ledger = TimeLedger()
    one_job(ledger, "a", 0, 1, 2, 10)
    one_job(ledger, "b", 0, 1, 4, 16)
    one_job(ledger, "a", 10, 10, 11, 14)
    ledger.asked("c", 3)  # never got work
    found = summarise(ledger.entries(18), offset=2.0, wall=20.0)
    assert found is not None
    assert (found.start, found.first_step) == (5, 4)
    assert found.training == (11 + 12) / 2
    assert found.waiting == 1  # a had none while b trained on
    assert sum(found.kinds().values()) + found.training == pytest.approx(20)


def test_a_group_that_was_lost_in_the_middle_trained_until_then() -> None:
    ledger = TimeLedger()
    ledger.asked("a", 0)
    ledger.leased("a", 1)
    ledger.began("a", 2)
    ledger.ended("a", 6)  # its lease was taken back
    assert ledger.entries(9)["a"].training == 4


def test_what_is_at_work_when_the_search_ends_was_training_until_then() -> None:
    ledger = TimeLedger()
    one_job(ledger, "a", 0, 1, 2, 10)
    ledger.asked("a", 10)
    ledger.leased("a", 10)
    ledger.began("a", 11)  # a fine-tuning that is stopped, and the search with it
    for now in (14, 15):
        assert ledger.entries(now)["a"].training == 8 + now - 11
    found = summarise(ledger.entries(15), offset=1.0, wall=18.0)
    assert found is not None
    assert found.closing == 2


def test_nothing_trained_is_said_so() -> None:
    assert summarise(TimeLedger().entries(1), 1.0, 2.0) is None
