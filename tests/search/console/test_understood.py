"""The lines of a dry run that say what a data set was understood to be."""

from search.console.understood import Understood as Shown
from trainables.data._understood import Count, LeftOut, TableRead, Understood

FOUND = Understood(
    classes={"a": Count(7, 3), "b": Count(5, 5)},
    patient_groups=8,
    largest_group="P1",
    largest_images=4,
    unlabelled=9,
    given_split={},
    left_out=(LeftOut("masks", 5, ("x", "y", "z")), LeftOut(".gif files", 2)),
    tables=(TableRead("labels.csv", 12, "UTF-16", "tab", {"image": "file", "label": "dx"}),),
    notes=("a note",),
)
SPLIT = {"train": range(8), "val": range(2), "test": range(2)}


def test_every_subject_has_its_line():
    assert list(Shown(FOUND, SPLIT, "it leaks").lines()) == [
        "table     labels.csv: 12 rows, UTF-16, by tab; image=file, label=dx",
        "classes   images of patient groups: a 7 of 3, b 5 of 5",
        "groups    8 patient groups; the largest, P1, has 4 images",
        "split     8 train, 2 val, 2 test; drawn",
        "unlabelled 9 images, which no task sees",
        "left out  5 masks (x, y, z, ...)",
        "left out  2 .gif files",
        "note      a note",
        "note      it leaks",
    ]


def test_many_classes_stay_on_a_line():
    many = Understood({f"c{i}": Count(3, 3) for i in range(30)}, 90, "x", 1, 0, {}, (), (), ())
    classes, groups, _ = Shown(many, SPLIT, "").lines()
    assert classes.endswith("c19 3 of 3, and 10 more classes")
    assert "every image is its own patient group" in groups
