"""The verbs, in this process: what they print, their exit statuses, what they refuse."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from search import run
from search.console.commands import VERBS, parse
from search.space.compose import composed
from search.store.stage_store import StageStore
from trainables.errors import UserError
from trainables.spec import digest

ROOT = Path(__file__).resolve().parents[3]
SPEC = {"name": "odc"}
KEY = f"odc-{digest(SPEC)}"
SMOKE = ["--space", "isic3", "profile=smoke"]


def command(capsys, *arguments):
    """Status, stdout, stderr."""
    try:
        status = run.main(arguments)
    except SystemExit as end:  # argparse
        status = end.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(here):
    """One finished stage, one that was interrupted, in the default store."""
    made = StageStore(here / "runs" / "store")
    for key, size in ((KEY, 2_000_000), ("moco-1", 3_000_000)):
        (made.part(key) / "weights").write_bytes(bytes(size))
    with made.lock(KEY):
        made.commit(KEY, {"spec": SPEC})
    return made


@pytest.mark.parametrize(
    ("given", "verb"),
    [
        (["--space", "isic3"], "search"),
        (["seed=1", "--space", "isic3"], "search"),
        (["~tasks.odc", "--space", "isic3"], "search"),
        (["search", "--space", "isic3"], "search"),
        (["list"], "list"),
        (["show", "--space", "isic3", "seed=1"], "show"),
        (["store", "size", "--store", "x"], "store"),
    ],
)
def test_the_first_argument_is_a_verb_unless_it_is_an_option_or_an_override(given, verb):
    assert parse(given).verb == verb


def test_overrides_may_stand_anywhere():
    for given in (["a=1", "--space", "s", "b=2"], ["search", "a=1", "--space", "s", "b=2"]):
        assert (parse(given).space, parse(given).overrides) == ("s", ["a=1", "b=2"])


@pytest.mark.parametrize(
    ("verb", "near"), [("serch", "search"), ("shw", "show"), ("stores", "store"), ("lst", "list")]
)
def test_an_unknown_verb_is_one_line_with_the_nearest(capsys, verb, near):
    status, out, err = command(capsys, verb, "--space", "isic3")
    assert (status, out) == (2, "")
    assert err == f"error: verb={verb}: must be one of list, search, show, store; try {near}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(capsys, verb):
    status, out, _ = command(capsys, verb, "--help")
    assert status == 0
    assert VERBS[verb][0] in out
    assert "exit status: 0 done" in out


def test_the_commands_help_names_the_verbs(capsys):
    status, out, _ = command(capsys, "--help")
    assert status == 0
    assert all(f"  {verb} " in out for verb in VERBS if verb != "search")


def test_the_version_is_that_of_the_package(capsys):
    written = (ROOT / "pyproject.toml").read_text().split('version = "')[1].split('"')[0]
    assert command(capsys, "--version") == (0, f"ssl-curriculum-search {written}\n", "")


@pytest.mark.parametrize(
    "given",
    [["--help"], ["list"], ["store", "--help"], ["--version"], ["show", "--space", "isic3"]],
    ids=" ".join,
)
def test_nothing_heavy_is_loaded(given):
    code = (
        "import sys; from search.run import main\n"
        f"try: status = main({given})\n"
        "except SystemExit as end: status = end.code\n"
        "print({'torch', 'ray', 'mlflow'} & set(sys.modules), status or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "set() 0", done.stdout + done.stderr


@pytest.mark.usefixtures("store")
def test_list_names_what_there_is(capsys):
    status, out, _ = command(capsys, "list")
    assert status == 0
    assert "isic3               Three pretext tasks on dermoscopy images" in out
    assert "adaptive            Learns what makes a chain good" in out
    assert out.endswith("stores\n  runs/store          1 finished stages\n")


def test_show_prints_yaml_with_origins(capsys):
    status, out, _ = command(capsys, "show", "seed=3", "--space", "isic3", "profile=smoke")
    assert status == 0
    assert yaml.safe_load(out) == composed("isic3", ["seed=3", "profile=smoke"])
    origins = {tuple(line.rsplit("  # ", 1)) for line in out.splitlines() if "  # " in line}
    found = {left.strip(): right for left, right in origins}
    assert found["seed: 3"] == "seed=3"
    assert found["image_size: 32"] == "spaces/profile/smoke.yaml"
    assert found["max_length: 3"] == "spaces/isic3.yaml"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--space", "isic33"],
            "--space=isic33: must be one of cxr4, isic3, lungs, skin5; try isic3",
        ),
        (["--space", "isic3", "profile=smok"], "profile=smok: must be one of cpu, demo, gpu"),
        (["--space", "isic3", "seed=-1"], "seed=-1: must be a whole number from 0"),
        (["--space", "isic3", "seeed=1"], "seeed: must be one of "),
    ],
)
def test_show_refuses_what_a_search_does(capsys, given, said):
    status, out, err = command(capsys, "show", *given)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_the_store_verbs(capsys, store):
    where = ["--store", str(store.root)]
    assert command(capsys, "store", "list", *where) == (0, f"{KEY}\n", "")
    assert command(capsys, "store", "verify", *where) == (0, "", "")
    _, sizes, _ = command(capsys, "store", "size", *where)
    assert [line.split()[:2] for line in sizes.splitlines()] == [
        ["finished", "1"], ["unfinished", "1"], ["damaged", "0"],
    ]  # fmt: skip
    assert [line.split()[3] for line in sizes.splitlines()] == ["0.002", "0.003", "0.000"]
    assert command(capsys, "store", "prune", *where) == (0, "moco-1.part\n", "")
    (store.path(KEY) / "weights").unlink()
    status, out, _ = command(capsys, "store", "verify", *where)
    assert (status, out) == (1, f"{KEY}: weights is missing\n")


@pytest.mark.parametrize("given", [["list"], ["store", "size"], ["store", "verify"]])
def test_a_folder_that_is_no_store_is_refused_and_stays_as_it_is(capsys, here, given):
    status, out, err = command(capsys, *given, "--store", "nowhere")
    assert (status, out) == (2, "")
    assert err == "error: --store=nowhere: must be a store, with STORE.json in it; try runs/store\n"
    assert list(here.iterdir()) == []


def test_an_unknown_action_of_a_store_is_refused(capsys):
    status, _, err = command(capsys, "store", "clean", "--store", "x")
    assert status == 2
    assert "'clean'" in err


def test_images_are_shown_though_a_task_cannot_be_trained_on_them(capsys, here):
    for number in range(24):
        folder = here / "images" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (10 * number, 5, 5)).save(folder / f"{number}.png")
    status, out, error = command(capsys, *SMOKE, "--data", "images", "data=folder", "--dry-run")
    assert status == 2
    assert "class0: 12 images of 12 patient groups" in out
    assert error.startswith("error: profile.batch=32: must be at most")
    assert error.count("\n") == 1


def test_a_fault_outside_a_search_is_one_line(capsys, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied", "x\ny")

    monkeypatch.setattr("search.console.listing.lines", denied)
    status, out, err = command(capsys, "list")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: [Errno 13] Permission denied")


def test_a_reader_that_stops_early_is_no_error(monkeypatch):
    def closed(*_):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    assert run.main(["list"]) == 0


def test_parse_takes_nothing_for_a_verb():
    with pytest.raises(UserError, match=r"^verb=: must be one of"):
        parse([""])
