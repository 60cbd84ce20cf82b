"""Features from elsewhere: judged as a backbone's own, or refused in one line."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from search.chains.node import Node
from tests.trainables import small
from tests.trainables.kinds.test_many_labels import drawn
from tests.trainables.small import RUNTIME, quiet
from trainables.downstream import vectors
from trainables.durable import file_digest
from trainables.errors import UserError
from trainables.kinds import Work
from trainables.kinds import probe as probe_kind
from trainables.kinds.features import Plugin
from trainables.kinds.probe import Plugin as Probe
from trainables.spec import FEATURES, IMAGES, StageSpec


def file_of(folder, names, values, suffix=""):
    path = folder / "features.parquet"
    images = [name + suffix for name in names]
    pq.write_table(pa.table({"image": images, "vector": [*map(list, values)]}), path)
    return path


def judged(data, file, out, **params):
    given = {"sha256": file_digest(file)[:16], "fraction": 1.0, **params}
    spec = StageSpec(FEATURES, "panderm", given, "1", None, {}, {}, 0)
    work = Work(spec, RUNTIME, out, quiet, {IMAGES: data}, places={FEATURES: file})
    return Plugin().run(work).score


def telling(data, shuffled=False):
    """Vectors that tell the class of every image, or of another one's at random."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(data.labels) if shuffled else data.labels
    if not data.many:
        labels = np.eye(len(data.classes))[labels]
    return 4 * labels + rng.normal(size=(len(labels), labels.shape[1])) * 0.1


@pytest.fixture(scope="module")
def sizable(tmp_path_factory):
    return small.prepared(tmp_path_factory.mktemp("cache"), "data.params.n=1400")


def test_vectors_that_tell_the_class_score_everything(data, tmp_path):
    file = file_of(tmp_path, data.names, telling(data))
    found = judged(data, file, tmp_path, objective="macro_auroc")
    assert found.objective == "macro_auroc"
    for name in ("balanced_accuracy", "accuracy", "macro_auroc", "macro_average_precision"):
        assert (found.measures[name].value, found.measures[name].low) == (100, 100), name
    assert "sensitivity/" + data.classes[0] in found.measures
    for part in ("val", "test"):
        written = pq.read_table(tmp_path / f"{part}.parquet")
        own = data.split[part]
        assert written["image"].to_pylist() == [data.names[i] for i in own]
        assert written["label"].to_pylist() == data.labels[own].tolist()
        told = np.stack([written[f"p{k}"].to_numpy() for k in range(len(data.classes))], 1)
        assert told.sum(1) == pytest.approx(1)
        assert told.argmax(1).tolist() == data.labels[own].tolist()
    assert json.loads((tmp_path / "meta.json").read_text()) == {"classes": [*data.classes]}
    for on in ("train", "val"):
        probed = judged(data, file, tmp_path, on=on).measures
        assert {name: one.value for name, one in probed.items()} == {"linear": 100, "knn": 100}


def test_vectors_of_other_images_score_by_chance(sizable, tmp_path):
    file = file_of(tmp_path, sizable.names, telling(sizable, shuffled=True))
    chance = 100 / len(sizable.classes)
    found = judged(sizable, file, tmp_path, objective="balanced_accuracy").judged
    assert found.low < chance < found.high
    assert found.high < 3 * chance, "the interval could not fail"
    for one in judged(sizable, file, tmp_path, on="train").measures.values():
        assert abs(one.value - chance) < chance / 2


def test_a_backbones_features_give_the_numbers_of_its_own_probe(data, tmp_path, monkeypatch):
    """Also the score's linear classifier answers as the probe on validation does."""
    seen = []
    original = probe_kind.over
    monkeypatch.setattr(
        probe_kind,
        "over",
        lambda part, *given: seen.append((part, given)) or original(part, *given),
    )
    plan = small.plan(data, "probe=true")
    expected = {}
    for on, objective in (("train", "balanced_accuracy"), ("val", "macro_auroc")):
        spec = plan.probe(Node.parse("scratch"))
        spec = replace(spec, params={**spec.params, "on": on, "objective": objective})
        work = Work(spec, RUNTIME, tmp_path, quiet, {IMAGES: data})
        expected[on] = Probe().run(work).score
    _, given = seen[0]
    with torch.no_grad():
        values = original(np.arange(len(data.names)), *given).numpy()
    file = file_of(tmp_path, data.names, values)
    fraction = spec.params["fraction"]
    for on, objective in (("train", "balanced_accuracy"), ("val", "macro_auroc")):
        own = judged(data, file, tmp_path, fraction=fraction, on=on, objective=objective)
        assert own == expected[on], on
    score = judged(data, file, tmp_path, fraction=fraction, objective="macro_auroc")
    assert score.value == expected["val"].measures["linear"].value


def test_several_labels_an_image(tmp_path):
    many = drawn(80)
    file = file_of(tmp_path, many.names, telling(many))
    found = judged(many, file, tmp_path, objective="macro_auroc")
    assert found.value == 100
    assert {"auroc/A", "auroc/B"} <= found.measures.keys()
    assert json.loads((tmp_path / "meta.json").read_text())["labels"] == "many"
    columns = pq.read_table(tmp_path / "val.parquet").column_names
    assert columns == ["image", "group", "y0", "y1", "p0", "p1"]
    assert judged(many, file, tmp_path, on="train").measures["linear"].value == 100
    source = SimpleNamespace(table=many)
    spec = StageSpec(
        FEATURES, "x", {"sha256": "", "fraction": 1, "objective": "ece"}, "1", None, {}, {}, 0
    )
    with pytest.raises(UserError, match=r"downstream\.objective=ece: must be one of macro_auroc"):
        Plugin().check(spec, {IMAGES: source})


def test_few_labels_are_those_that_a_fine_tuning_sees(data, tmp_path):
    """Others may be anything."""
    file = file_of(tmp_path, data.names, telling(data))
    index = probe_kind.labelled(data, 0.2, 0)
    spoilt = data.labels.copy()
    spoilt[np.setdiff1d(data.split["train"], index)] = 0
    for own in (data, replace(data, labels=spoilt)):
        found = judged(own, file, tmp_path, fraction=0.2, objective="accuracy")
        assert found.value == 100


def source(names, damaged=None):
    params = SimpleNamespace(damaged=damaged)
    return SimpleNamespace(
        table=SimpleNamespace(names=names), images=SimpleNamespace(params=params)
    )


@pytest.mark.parametrize("suffix", ["", ".png"])
def test_images_are_found_by_what_a_table_may_call_them(tmp_path, suffix):
    values = np.arange(8.0).reshape(4, 2)
    cells = ["B/1.PNG", f"/data/of/mine/a/1{suffix}", "7", "unknown"]
    file = file_of(tmp_path, cells, values)
    names = (f"a/1{suffix}", f"b/1{suffix}", f"c/0007{suffix}")
    found = vectors.read(file, "x", names)
    assert found.tolist() == [[2, 3], [0, 1], [4, 5]]
    assert vectors.check(file, "x", source(names)) == (
        "features x: 2 numbers for each of 3 images; 1 rows of no image of this data set"
    )


def test_an_image_without_a_vector_is_refused_unless_it_may_be_damaged(tmp_path):
    file = file_of(tmp_path, ["a", "b"], np.ones((2, 3)))
    with pytest.raises(UserError, match=r"each of the 4 images, and 2 have none \(c, d; the file"):
        vectors.check(file, "x", source(("a", "b", "c", "d")))
    said = vectors.check(file, "x", source(("a", "b", "c"), "skip"))
    assert said.endswith("each of 2 images; 1 images without, must be damaged (c)")
    with pytest.raises(UserError, match="1 have none"):
        vectors.read(file, "x", ("a", "c"))


LISTS = pa.list_(pa.float64())


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"name": ["a"], "vector": [[1.0]]}, "the columns image and vector, and has no i"),
        ({"image": ["a"], "f0": [1.0]}, "has no vector (image, f0)"),
        ({"image": ["a"], "vector": [1.0]}, "lists of numbers in the column vector, and has d"),
        ({"image": ["a"], "vector": [["x"]]}, "and has list<"),
        ({"image": ["a", "b"], "vector": [[1.0, 2], [1.0]]}, "one length (1 here)"),
        ({"image": ["a", "b", "c"], "vector": [[1.0], [1.0], None]}, "1 of 3 are not (c)"),
        ({"image": ["a", "b"], "vector": [[1.0], [float("nan")]]}, "of finite numbers, and 1 of 2"),
        ({"image": ["a", "b"], "vector": [[1.0], [1e300]]}, "of finite numbers"),
        ({"image": ["a", "b"], "vector": [[1.0], [None]]}, "of finite numbers"),
        ({"image": ["a"], "vector": pa.array([[]], LISTS)}, "must have vectors, and has none"),
        ({"image": ["a", "a.png"], "vector": [[1.0], [2.0]]}, "one row an image, and 1 rows are"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, columns, said):
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table(columns), file)
    with pytest.raises(UserError) as caught:
        vectors.check(file, "panderm", source(("a", "b")))
    text = str(caught.value)
    assert text.startswith(f"baselines.features.panderm={file}: must ")
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize("content", [None, b"image,vector\n"])
def test_no_parquet_file(tmp_path, content):
    file = tmp_path / "f.parquet"
    if content:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"f\.parquet: must be a Parquet file to read"):
        vectors.check(file, "x", source(("a",)))


def test_another_file_than_the_drivers_is_refused(data, tmp_path):
    file = file_of(tmp_path, data.names, telling(data))
    with pytest.raises(UserError, match=r"features\.panderm=.*must be the same file on every node"):
        judged(data, file, tmp_path, sha256="0" * 16, objective="accuracy")
