"""The command's exit statuses and its one line for bad input, in this process."""

import shutil

import pytest
import torch

from search import run
from search.console import exit
from search.space import compose

SMOKE = ["--space", "isic3", "profile=smoke"]


def refused(capsys, *arguments):
    """The only line on stderr; a search would have started otherwise."""
    assert run.main(arguments) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    return error


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--space", "isic33"],
            "--space=isic33: must be one of cxr4, isic3, lungs, skin5; try isic3",
        ),
        ([*SMOKE, "tasks.odc.params.clusters=600"], "clusters"),
        ([*SMOKE, "--policy", "tune:zoopt"], "policy=tune:zoopt: must be a searcher of Tune"),
        ([*SMOKE, "--policy", "tune:ax", "--dry-run"], "policy=tune:ax: must be a searcher"),
        (["--space", "isic3", "--data", "no/such/folder"], "no/such/folder"),
        ([*SMOKE, "--tracking-uri", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_bad_input(capsys, arguments, said):
    assert said in refused(capsys, *arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU here can be used")
def test_gpus_that_pytorch_cannot_use_are_bad_input(capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    error = refused(capsys, *SMOKE)
    assert error.startswith("error: GPUs=2: must be usable by PyTorch")
    assert "CUDA_VISIBLE_DEVICES=" in error


def test_a_store_of_another_format_is_refused(capsys, here):
    (here / "store").mkdir()
    (here / "store" / "STORE.json").write_text('{"format": 999}')
    error = refused(capsys, *SMOKE, "store=store")
    assert "999" in error
    assert "store=" in error


def test_a_misspelt_key_in_a_yaml_file_names_the_near_match(capsys, here, monkeypatch):
    shutil.copytree(compose.SPACES, here / "spaces")
    own = here / "spaces" / "isic3.yaml"
    own.write_text(own.read_text().replace("max_length: 3", "max_lenght: 3\nmax_length: 3"))
    monkeypatch.setattr(compose, "SPACES", here / "spaces")
    assert "try max_length" in refused(capsys, "--space", "isic3", "--dry-run")


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (SystemExit(2), 2), (SystemExit("text"), 1), (KeyboardInterrupt(), 130),
        (RuntimeError("u://me:secret@h"), 1),
    ],
    ids=repr,
)  # fmt: skip
def test_the_status_whatever_is_raised(capsys, monkeypatch, raised, status):
    def main():
        raise raised

    monkeypatch.setattr(run, "main", main)
    assert run.command() == status == (status if status != 130 else exit.status())
    assert "secret" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("summary", "status"),
    [
        ({"best_chain": "odc", "budget_spent": False, "incomplete": ""}, 0),
        ({"best_chain": None, "budget_spent": True, "incomplete": ""}, 0),
        ({"best_chain": None, "budget_spent": False, "incomplete": ""}, 1),
        ({"best_chain": "odc", "budget_spent": False, "incomplete": "the broker is gone"}, 1),
    ],
)
def test_the_status_of_a_search(capsys, monkeypatch, summary, status):
    monkeypatch.setattr("search.session.Session.search", lambda self: summary)
    assert run.main([*SMOKE, "--json", "--out", "with space"]) == status
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith('{"best_chain"')
    if summary["incomplete"]:
        said, again = err.splitlines()
        assert said == (
            "error: the broker is gone; the search is incomplete. Once mended, run again:"
        )
        given = "--space isic3 profile=smoke --json --out 'with space'"
        assert again == f"    python search/run.py {given}"
