"""The estimate of a search: worker groups, rates that are timed, the shorter command."""

import pytest

from search.chains.plan import Plan
from search.policies import policy_of
from search.scheduling import rates
from search.scheduling.cost import LONG
from search.scheduling.estimate import Here, estimate
from search.scheduling.forecast import forecast
from search.scheduling.rates import subject
from search.scheduling.work import Rate
from search.space import load

TWO_CORES = Here(({"CPU": 2.0},))
LONGER = ["repeats=3", "controls=true", "label_curve=true"]


@pytest.fixture
def asked(monkeypatch):
    """Names of what was timed, and the seconds of a step, which a test may change."""
    names = []

    def timed(specs, _data, machine, beside):
        names.extend([*(spec.name for spec in specs), (machine.threads, beside)])
        return {subject(spec): Rate(rate[0], 0.0, 0.0) for spec in specs}

    rate = [1.0]
    monkeypatch.setattr(rates, "timed", timed)
    return names, rate


def found(tmp_path, *overrides, here=TWO_CORES, store="none", side=None):
    given = ["profile=smoke", "profile.precision=float32", f"store={tmp_path / store}"]
    space = load("isic3", [*given, *overrides])
    counts = forecast(space, policy_of(space), 1000)
    return estimate(Plan(space, ""), counts, here, decoding=5.0, side=side)


def test_what_has_no_rate_is_timed_beside_as_many_as_will_train(tmp_path, asked):
    names, _ = asked
    known = found(tmp_path)
    assert names == ["relative_location", "moco", "odc", "probe", "classify", (1, 2)]
    assert (known.groups, known.unknown) == (2, {})
    assert known.timed == dict.fromkeys(names[:-1], 10.0)
    assert 30 < known.span.minimum < known.span.maximum


@pytest.mark.usefixtures("asked")
def test_images_that_are_decoded_too_small_for_patches_are_named(tmp_path):
    """A patch is 0.0875 of an image's side and is seen as 32 px, or as 64 of 224."""
    (line,) = found(tmp_path, "profile.cache_size=128").coarse
    assert line == (
        "the patches of relative_location are enlarged 2.9 times; "
        "set profile.cache_size=183 or more"
    )
    assert found(tmp_path, "profile.cache_size=183").coarse == ()
    large = "profile.image_size=224", "profile.cache_size=365"
    assert "2.0 times; set profile.cache_size=366" in found(tmp_path, *large).coarse[0]
    assert found(tmp_path, "~tasks.relative_location", "max_length=2").coarse == ()
    (line,) = found(tmp_path, "profile.cache_size=256", side=40).coarse
    assert line == (
        "the patches of relative_location are enlarged 9.1 times; "
        "most files have 40 px, so leave it out: '~tasks.relative_location'"
    )
    assert "cache_size=183" in found(tmp_path, "profile.cache_size=128", side=600).coarse[0]


def test_nothing_is_timed_in_place_of_a_cluster(tmp_path, asked):
    known = found(tmp_path, here=Here(({"CPU": 8.0, "GPU": 1.0},) * 2, alone=False))
    assert asked[0] == []
    assert (known.span, known.shorter, known.groups) == (None, (), 2)
    assert set(known.unknown.values()) == {"no stage has been trained there yet"}


def test_a_task_that_fails_leaves_no_time_but_its_reason(tmp_path, monkeypatch):
    def timed(specs, *_):
        answers = {subject(spec): Rate(1.0, 0.0, 0.0) for spec in specs}
        return answers | {subject(s): "out of memory" for s in specs if s.name == "odc"}

    monkeypatch.setattr(rates, "timed", timed)
    known = found(tmp_path)
    assert known.unknown == {"odc": "out of memory"}
    assert known.span is None
    assert known.seconds.keys() == {"relative_location", "moco", "probe", "classify"}


def test_the_shorter_command(tmp_path, asked):
    """One seed is enough if that is below half an hour; else the budget says when to end."""
    settings = ("repeats=1", "controls=false", "label_curve=false")
    rate = asked[1]
    assert found(tmp_path, *LONGER).span.maximum < LONG
    assert found(tmp_path, *LONGER).shorter == ()
    rate[0] = 6.0
    assert found(tmp_path, *LONGER).shorter == settings
    rate[0] = 60.0
    assert found(tmp_path, *LONGER).shorter == (*settings, "budget=30m")
    assert found(tmp_path).shorter == ("budget=30m",)
    assert found(tmp_path, *LONGER, "budget=30m").shorter == ()


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("more", "steps"),
    [((), (82_152, 20_538)), (("max_length=1",), (82_152,)),
     (("starts.imagenet=resnet.pth", "starts.scratch={chains: false}"), (20_538,))],
)  # fmt: skip
def test_steps_are_those_of_a_stage_after_a_start_and_of_a_later_one(tmp_path, more, steps):
    given = [
        "profile=smoke",
        "profile.precision=float32",
        f"store={tmp_path}",
        "profile.steps=published",
    ]
    space = load("isic3", [*given, *more])
    plan = Plan(space, "", weights={"imagenet": "digest"}, count=17_700)
    known = estimate(plan, forecast(space, policy_of(space), 1000), TWO_CORES, decoding=5.0)
    assert known.steps["moco"] == steps
    assert len(known.steps["classify"]) == 1
