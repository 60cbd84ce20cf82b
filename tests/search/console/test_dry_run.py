"""The lines of a dry run and the first line of a long search."""

from search.console.dry_run import lines, long_search, shorter
from search.scheduling.cost import Span
from search.scheduling.estimate import Estimate
from search.scheduling.forecast import Forecast
from search.space import load

GIVEN = ["--space", "isic3", "--budget", "8h", "--data", "my images", "repeats=3", "--dry-run"]
FORECAST = Forecast("isic3", True, "curriculum", "smoke", 839, ("moco",), 33, 15, 3, 7, (4, 2))


SPAN = Span(600.0, 3000.0)


def estimate(span=SPAN, **other):
    given = {"seconds": {"moco": 45.0, "odc": 50.0, "probe": 2.0}, "timed": {"moco": 1.34}}
    known = {"groups": 2, "measured": ("probe",), "unknown": {}, "steps": {}, **given, **other}
    return Estimate(span=span, **known)


def test_a_long_search_says_so_with_the_shorter_command():
    said = long_search(estimate(shorter=("repeats=1", "budget=30m")), GIVEN)
    assert said == (
        "this takes about 10 to 50 minutes; shorter: python search/run.py --space isic3 "
        "--data 'my images' repeats=1 budget=30m"
    )
    assert long_search(estimate(), GIVEN) == ""


def test_the_shorter_command_keeps_what_it_does_not_change():
    assert shorter(["--space=isic3", "--budget=8h", "budget=2d"], ["budget=30m"]) == (
        "python search/run.py --space=isic3 budget=30m"
    )
    assert "--budget 8h" in shorter(GIVEN, ["repeats=1"])
    assert "secret" not in shorter(["--tracking-uri", "http://u:secret@h"], ["budget=30m"])


def test_every_rate_says_where_it_is_from():
    found = list(lines(load("isic3", ["profile=smoke"]), FORECAST, estimate(), GIVEN))
    (time,) = (line for line in found if line.startswith("time"))
    assert time.startswith("time      10:00 to 50:00 with 2 worker groups")
    said = "\n".join(found)
    assert "moco                  0:45   timed ten steps of moco: 1.3 s" in said
    assert "odc                   0:50   from finished stages of this store" in said
    assert "probe                 0:02   timed probe on random images" in said
    assert not found[0].startswith("this takes")


def test_patches_without_detail_are_named_in_one_line():
    found = list(lines(load("isic3"), FORECAST, estimate(coarse=("the patches of a task",)), GIVEN))
    assert [s for s in found if "patches" in s] == ["patches   the patches of a task"]


def test_what_is_too_short_is_named_in_one_line():
    known = estimate(steps={"odc": (8000, 2000)}, too_short=("too short to matter: moco 230",))
    found = list(lines(load("isic3"), FORECAST, known, GIVEN))
    assert [s for s in found if "too short" in s] == ["length    too short to matter: moco 230"]
    assert any(
        line.endswith("   8,000 or 2,000 steps; from finished stages of this store")
        for line in found
    )


def test_without_a_rate_there_is_no_time():
    unknown = estimate(None, unknown={"byol": "out of memory"})
    found = list(lines(load("isic3", ["profile=smoke"]), FORECAST, unknown, GIVEN))
    assert "time      unknown, as a task has no rate" in found
    assert any("byol" in line and "?   out of memory" in line for line in found)
    assert long_search(unknown, GIVEN) == ""


def test_a_long_dry_run_begins_with_it():
    long = estimate(shorter=("budget=30m",))
    found = list(lines(load("isic3", ["profile=smoke"]), FORECAST, long, GIVEN))
    assert found[0].startswith("this takes about 10 to 50 minutes")
