"""Means over seeds: known answers, and a slow oracle."""

import numpy as np
import pytest

from search.chains.node import Node
from search.scheduling.seeds import means

A, B, C = (Node((task,)) for task in "abc")


def test_equal_seeds_give_plain_means():
    scores = {p.again(k): 10.0 * k + i for i, p in enumerate((A, B)) for k in range(3)}
    found = means(scores)
    assert found[B] - found[A] == pytest.approx(1.0)


def test_a_seed_that_lifts_all_lifts_nobody():
    """Seed 1 is 5 points worse; the chain that got it is still the better one."""
    scores = {A: 60.0, A.again(1): 55.0, B: 59.0, B.again(1): 54.0, C: 58.0}
    found = means(scores)
    assert (found[A] - found[C], found[B] - found[C]) == (pytest.approx(2.0), pytest.approx(1.0))


def test_one_seed_each_is_the_score_itself():
    assert means({A: 60.0, B: 50.0}) == {A: 60.0, B: 50.0}
    assert means({}) == {}


@pytest.mark.parametrize("seed", range(5))
def test_differences_are_those_of_the_whole_least_squares_fit(seed):
    rng = np.random.default_rng(seed)
    nodes = [Node((f"t{i}",)) for i in range(6)]
    scores = {
        p.again(k): rng.normal() + 3 * k for i, p in enumerate(nodes) for k in range(1 + i % 4)
    }
    order = [*scores]
    design = np.zeros((len(order), len(nodes) + 4))
    for row, node in enumerate(order):
        design[row, nodes.index(node.first())] = design[row, len(nodes) + node.repeat] = 1
    whole, *_ = np.linalg.lstsq(design, np.array([*scores.values()]))
    found = means(dict(rng.permutation(np.array([*scores.items()], dtype=object))))
    for p in nodes[1:]:
        wanted = whole[nodes.index(p)] - whole[0]
        assert found[p] - found[nodes[0]] == pytest.approx(wanted)
