"""What a probe says of a fine-tuning: against NumPy's regression, and its coverage."""

import numpy as np
import pytest
from scipy.stats import t

from search.policies._hint import predict
from tests.measures import BALANCED, scored
from tests.search.policies.test_contract import every_policy, make
from trainables.spec import Score

RNG = np.random.default_rng(0)


def test_it_is_the_regressions_prediction():
    x, y = RNG.normal(30, 5, 9), RNG.normal(60, 3, 9)
    found = predict(37.0, x, y)
    slope, start = np.polyfit(x, y, 1)
    design = np.stack([np.ones(9), x], 1)
    residual = ((y - start - slope * x) ** 2).sum() / 7
    new = np.array([1.0, 37.0])
    variance = residual * (1 + new @ np.linalg.inv(design.T @ design) @ new)
    assert found.value == pytest.approx(start + slope * 37)
    assert found.sd == pytest.approx(np.sqrt(variance) * t(7).std())


def test_equal_probes_predict_nothing():
    assert predict(30.0, [30.0] * 6, [*range(6)]) is None


def test_three_deviations_are_rarely_exceeded():
    """Five chains, three degrees of freedom: t alone exceeds 3 in 5.8 % of cases."""
    out = 0
    for _ in range(4000):
        probes = RNG.normal(0, 1, 6)
        merits = 0.7 * probes + RNG.normal(0, 0.7, 6)
        value, sd = predict(probes[5], probes[:5], merits[:5])
        out += abs(merits[5] - value) > 3 * sd
    assert out / 4000 == pytest.approx(2 * t(3).sf(3 * np.sqrt(3)), abs=0.006)


@every_policy
def test_a_policy_predicts_what_has_a_probe_alone(name):
    policy = make(name, max_length=2)
    asked = [policy.ask() for _ in range(4)]
    for number, node in enumerate(asked):
        policy.probed(node, Score("linear", {"linear": BALANCED.measure(30 + number, 0, 0)}))
        policy.tell(node, scored(50 + 2 * number, 49 + 2 * number, 51 + 2 * number))
    node, later = policy.ask(), policy.ask()
    assert policy.hint(node) is None
    policy.probed(node, Score("linear", {"linear": BALANCED.measure(35.0, 0, 0)}))
    assert policy.hint(node) is None  # four are too few
    policy.tell(node, scored(60.0, 59.0, 61.0))
    assert policy.hint(later) is None  # it has no probe
    policy.probed(later, Score("linear", {"linear": BALANCED.measure(36.0, 0, 0)}))
    assert policy.hint(later).value == pytest.approx(62.0)
    policy.tell(later, None)
    assert policy.best() == node
