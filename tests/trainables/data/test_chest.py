"""Public chest X-ray sets as published, of real pictures: labels, patients, splits, copies."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.chains.images import external_spec
from search.images import Images
from search.space import Space, load
from tests.trainables.data import chest
from trainables.data import Dataset
from trainables.data.siim_covid19 import Plugin as Siim
from trainables.errors import UserError
from trainables.images import dicom
from trainables.images.cache import Source, open_cache
from trainables.images.splits import crossing

FINDINGS = ("No Finding", "Effusion", "Edema", "Effusion|Edema", "Effusion|Mass")


@pytest.fixture(scope="session")
def pictures() -> Sequence[np.ndarray]:
    """40 real radiographs, grey, 64 px."""
    folder = Path(__file__).parents[4] / "shared" / "data" / "cxr-covid-mini" / "images"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} is not there")
    paths = sorted(folder.iterdir())[:40]
    return [np.asarray(Image.open(path).convert("L").resize((64, 64))) for path in paths]


def counts(data: Dataset) -> dict[str, int]:
    table = data.table()
    return {label: int(table.having(k).sum()) for k, label in enumerate(table.classes)}


def said(data: Dataset) -> str:
    data.table()
    return " ".join(data.notes.sentences)


def refused(data: Dataset) -> str:
    with pytest.raises(UserError) as caught:
        data.table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def nih(tmp_path: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Each finding in turn, of two views of a patient, eight of each."""
    labels = [FINDINGS[i // 2 % 5] for i in range(40)]
    return chest.chestxray14(tmp_path / "nih", pictures, labels)


def at(root: Path, *more: str) -> Dataset:
    space = load("cxr4", ["data=chestxray14", f"data.root={root}", *more])
    return Images(space).source.images


def test_chestxray14_has_several_labels_and_the_official_split(nih: Path) -> None:
    space = load("cxr4", ["data=chestxray14", f"data.root={nih}"])
    source = Images(space).source
    assert space.downstream.objective == "macro_auroc"
    assert counts(source.images) == {"Edema": 16, "Effusion": 24, "Mass": 8}
    assert len(source.split["test"]) == 8
    assert crossing(source.split, source.table.groups) == []
    listed = (nih / "test_list.txt").read_text().split()
    assert {source.table.names[row] for row in source.split["test"]} == {*listed}
    assert source.images.read(0).shape == (64, 64)


def test_the_eight_findings_decide_what_no_finding_and_an_isolated_one_are(nih: Path) -> None:
    one = "data.params.labels=one", "data.params.splits=null"
    fourteen = at(nih, *one)
    assert counts(fourteen) == {"No Finding": 8, "Edema": 8, "Effusion": 8}
    assert len(fourteen.unlabelled) == 16  # Effusion beside Edema or Mass
    eight = at(nih, *one, "data.params.findings=8")
    assert counts(eight) == {"No Finding": 16, "Effusion": 16}  # Edema counts as nothing
    assert len(eight.unlabelled) == 8
    assert "8 images have none of the 8 findings, but others" in said(eight)
    assert "8 images have several of the 8 findings, so none is isolated" in said(eight)
    assert counts(at(nih, "data.params.findings=8")) == {"Effusion": 24, "Mass": 8}


def test_the_newer_table_of_chestxray14(nih: Path) -> None:
    before = counts(at(nih))
    (nih / "Data_Entry_2017.csv").rename(nih / "Data_Entry_2017_v2020.csv")
    assert counts(at(nih)) == before


def test_without_its_table_chestxray14_says_so(nih: Path) -> None:
    (nih / "Data_Entry_2017.csv").unlink()
    with pytest.raises(UserError) as caught:
        at(nih)
    said = str(caught.value)
    assert f"--data={nih}: must hold Data_Entry_2017.csv or Data_Entry_2017_v2020.csv" in said


def test_a_split_that_is_not_there_is_said(nih: Path) -> None:
    (nih / "test_list.txt").unlink()
    with pytest.raises(UserError, match=r"test_list\.txt: must be readable"):
        at(nih)
    assert not at(nih, "data.params.splits=null").table().parts


def test_a_finding_that_is_none(nih: Path) -> None:
    path = nih / "Data_Entry_2017.csv"
    path.write_text(path.read_text().replace("Effusion|Mass", "Effusion|Mas"))
    with pytest.raises(UserError, match="row 10: must have findings of ChestX-ray14, and has Mas;"):
        at(nih)


CELLS = ("1.0,,,", "0.0,-1.0,,1.0", ",1.0,,", "-1.0,,,1.0", ",,,1.0")  # by patient, in turn


@pytest.fixture(params=["CheXpert-v1.0-small", "CheXpert-v1.0"])
def chexpert(
    request: pytest.FixtureRequest, tmp_path: Path, pictures: Sequence[np.ndarray]
) -> Path:
    cells = [CELLS[k % 5] for k in range(20)]
    return chest.chexpert(tmp_path / "chexpert", pictures, cells, request.param)


def stanford(root: Path, *more: str) -> Space:
    return load("cxr4", ["data=chexpert", f"data.root={root}", *more])


@pytest.mark.parametrize(
    ("policy", "effusion"), [("ones", 7), ("zeros", 4), ("ignore", 4)]
)  # of 16 patients, 4 have a 1 and 3 a -1
def test_chexpert_is_frontal_and_reads_what_is_uncertain(
    chexpert: Path, policy: str, effusion: int
) -> None:
    data = Images(stanford(chexpert, f"data.params.uncertain={policy}")).source.images
    table = data.table()
    assert len(table.names) == 16
    assert all("frontal" in name for name in table.names)
    assert table.groups[:2] == ("patient00001", "patient00002")
    assert counts(data)["Pleural Effusion"] == effusion
    assert data.unlabelled == [], "lateral views and valid/ are no pool"
    unsure = (table.labels == -1).sum()
    assert (unsure > 0) == (policy == "ignore")


def test_chexpert_with_lateral_views_and_from_inside(chexpert: Path) -> None:
    whole = Images(stanford(chexpert, "data.params.where=null")).source
    assert len(whole.table.names) == 32
    assert crossing(whole.split, whole.table.groups) == []
    inside = Images(stanford(next(chexpert.iterdir()))).source
    assert len(inside.table.names) == 16


def test_the_official_validation_of_chexpert_is_an_external_set(chexpert: Path) -> None:
    given = [
        "+data@external.official=chexpert", f"external.official.root={chexpert}",
        "external.official.params.csv=valid.csv",
    ]  # fmt: skip
    space = stanford(chexpert, *given)
    images = Images(space)
    assert external_spec(space, "official").test == 1.0
    tested = images.external["official"].table
    assert len(tested.names) == 4
    assert not {*tested.groups} & {*images.source.table.groups}


@pytest.fixture
def siim(tmp_path: Path, pictures: Sequence[np.ndarray]) -> Path:
    """20 studies of 10 patients; of study 0 the second view is a copy, of study 1 it has no box."""
    pytest.importorskip("pydicom", reason="DICOM needs the extra `dicom`")
    labels = [(1, 2, 0, 0, 3)[k % 5] for k in range(20)]
    shown = [pictures[0] if i == 1 else one for i, one in enumerate(pictures)]
    return chest.siim_covid19(tmp_path / "siim", shown, labels, [i in (1, 2) for i in range(40)])


def test_siim_is_binary_or_of_four_classes_by_patient(siim: Path) -> None:
    data = Siim(siim, {})
    table = data.table()
    assert counts(data) == {"Negative": 16, "Pneumonia": 23}
    assert "6334 images are published, and 39 of them are used" in said(data)
    assert len({*table.groups}) == 10
    assert table.groups[0] == "patient000"
    assert data.read(0).shape == (64, 64)
    four = load("cxr4", [f"data.root={siim}", "data.params.appearances=true"])
    assert Images(four).source.table.classes == (
        "Negative for Pneumonia", "Typical Appearance", "Indeterminate Appearance",
        "Atypical Appearance",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("duplicates", "without"),
    [(None, set()), ("copies", {"image000"}), ("unboxed", {"image000", "image003"})],
)
def test_siim_copies_inside_a_study(siim: Path, duplicates: str | None, without: set[str]) -> None:
    """Of two equal views the one with a box stays."""
    names = {*Siim(siim, {"duplicates": duplicates}).table().names}
    assert {f"image{i:03}" for i in range(40)} - names == without


def test_siim_headers_are_read_once(
    siim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Counter[str]()

    def counting(path: Path) -> str:
        read[path.name] += 1
        return patient(path)

    patient = dicom.patient
    monkeypatch.setattr(dicom, "patient", counting)
    spec = Images(load("cxr4", [f"data.root={siim}", f"cache={tmp_path / 'other'}"])).source.spec
    read.clear()
    first = Source(spec, siim, tmp_path / "cache").table
    assert read == {f"image{i:03}.dcm": 1 for i in range(40)}
    assert Source(spec, siim, tmp_path / "cache").table.groups == first.groups
    assert read.total() == 40
    (siim / "train" / "study000" / "series0" / "image000.dcm").touch()
    assert Source(spec, siim, tmp_path / "cache").table.groups == first.groups
    assert read.total() == 41


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "train").rename(root / "trained"), "must hold train/, train_study"),
        (lambda root: (root / "train_study_level.csv").unlink(), "no train_study_level.csv"),
        (lambda root: cut(root / "train_study_level.csv"), "must have a row for every study"),
    ],
)
def test_what_siim_lacks_is_said(siim: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(siim)
    assert words in refused(Siim(siim, {}))


def cut(path: Path) -> None:
    path.write_text("\n".join(path.read_text().splitlines()[:-2]))


def test_the_mini_set_of_cxr_covid(cxr: Path) -> None:
    space = load("cxr4", ["data=cxr_covid", f"data.root={cxr}"])
    source = Images(space).source
    assert counts(source.images) == {"Covid-19": 92, "No_findings": 401, "Pneumonia": 423}
    assert Counter(source.table.sites) == {"ChestX-ray8": 800, "covid-chestxray-dataset": 116}
    left_out = {one.what: one.count for one in source.images.understood().left_out}
    assert left_out["images of excluded classes"] == 4


def test_a_set_of_real_pictures_is_decoded(nih: Path, tmp_path: Path) -> None:
    space = load("cxr4", ["data=chestxray14", f"data.root={nih}", "profile.cache_size=72"])
    source = Images(replace(space, cache=str(tmp_path / "cache"))).source
    data = open_cache(source.prepare(tmp_path / "cache"))
    assert data.images.shape[1:] == (72, 72, 1)
    assert 0.2 < data.mean[0] < 0.8
