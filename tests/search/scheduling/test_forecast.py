"""What a search will train, counted by hand."""

from search.scheduling.cost import Counts
from search.scheduling.forecast import forecast
from search.space import load
from trainables.plugins import load as plugin


def forecast_of(*overrides, images=1000):
    space = load("isic3", ["profile=smoke", *overrides])
    policy = plugin("search.policies", space.policy.name)(
        tuple(space.tasks), space.max_length, space.budget.stages, 0, space.policy.params
    )
    return space, forecast(space, policy, images)


def test_stages_of_three_tasks():
    """3 + 6 * 2 + 6 * 3 stages on their own; 15 nodes; 3 singles to 7 chains that rise."""
    _, found = forecast_of()
    assert (found.stages_naive, found.stages_shared) == (33, 15)
    assert (found.stages_minimum, found.stages_maximum) == (3, 7)
    assert len(found.chains) == 15
    assert {"odc", "odc>moco", "odc>moco>relative_location"} <= set(found.chains)


def test_the_policy_and_the_budget_decide_how_many():
    assert forecast_of("policy=exhaustive")[1].stages_minimum == 15
    assert forecast_of("policy=exhaustive", "budget=4")[1].stages_maximum == 4


def test_repeats_are_counted():
    _, found = forecast_of("policy=exhaustive", "repeats=3")
    assert found.repeats == (8, 4)
    assert found.counts == Counts(15, 15, (8, 4), 1000)


def test_it_says_whether_the_images_are_drawn():
    assert forecast_of("data=demo")[1].demo
    assert not forecast_of("data=folder")[1].demo
