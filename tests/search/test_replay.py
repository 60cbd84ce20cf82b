"""The replay command as a user runs it, on the published table and on broken ones."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from search.chains.chain import Chain
from search.replay import main
from search.report.known import read
from tests.measures import BALANCED, scored
from tests.search.published import CHAINS, SCORES
from trainables.plugins import available

ROOT = Path(__file__).resolve().parents[2]
BASELINES = {"imagenet": 73.76, "scratch": 49.27}


def write(path: Path, columns: str, *rows: tuple) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([columns.split(","), *rows])
    path.write_text(text.getvalue())
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    rows = [(*item, CHAINS.get(item[0], ("", ""))[1]) for item in SCORES.items()]
    baselines = [(*item, "baseline") for item in BASELINES.items()]
    return write(tmp_path / "table.csv", "chain,balanced_accuracy,label", *rows, *baselines)


def run(table: Path, policy: str, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "search" / "replay.py"), "--space", "isic3"]
    return subprocess.run(
        [*command, "--table", str(table), "--policy", policy, *more],
        capture_output=True, text=True, cwd=table.parent,
    )  # fmt: skip


def replayed(capsys: pytest.CaptureFixture, table: Path, policy: str, *more: str) -> dict:
    command = ["--space", "isic3", "--table", str(table), "--policy", policy, "--json", *more]
    assert main(command) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture, table: Path, *more: str) -> str:
    """The one line on stderr."""
    assert main(["--space", "isic3", "--table", str(table), *more]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_the_command_prints_one_line_of_json_anywhere(published: Path) -> None:
    done = run(published, "curriculum", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.pop("order")[:3] == ["relative_location", "moco", "odc"]
    assert found == {
        "policy": "curriculum",
        "best_chain": "odc>moco",
        "best_score": 75.44,
        "regret": 0.0,
        "stages_trained": 7,
        "stages_exhaustive": 15,
        "stages_naive": 33,
    }


def test_the_command_refuses_in_one_line_with_status_two(tmp_path: Path) -> None:
    done = run(tmp_path / "none.csv", "curriculum")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: --table={tmp_path}/none.csv: must be a CSV file")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("policy", ["adaptive", "tpe"])
def test_it_loads_no_torch_and_no_ray(policy: str, published: Path) -> None:
    code = (
        "import sys; from search.replay import main;"
        f"main(['--space', 'isic3', '--table', {str(published)!r}, '--policy', {policy!r}]);"
        "print({'torch', 'ray', 'mlflow', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


@pytest.mark.parametrize("policy", [*available("search.policies"), "tune:hyperopt"])
def test_every_policy_finds_the_best_chain(
    policy: str, published: Path, capsys: pytest.CaptureFixture
) -> None:
    found = replayed(capsys, published, policy)
    assert (found["best_chain"], found["regret"]) == ("odc>moco", 0.0)
    assert found["stages_trained"] == len(found["order"]) <= 15


@pytest.mark.parametrize("policy", ["tune:optuna", "tune:hyperopt"])
def test_tunes_searchers_are_named_and_say_nothing(policy: str, published: Path) -> None:
    done = run(published, policy, "--budget", "8", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["policy"], found["stages_trained"]) == (policy, 8)


def test_a_budget_costs_regret(published: Path, capsys: pytest.CaptureFixture) -> None:
    found = replayed(capsys, published, "exhaustive", "--budget", "3")
    assert found["order"] == ["relative_location", "moco", "odc"]
    assert (found["best_chain"], found["regret"]) == ("moco", pytest.approx(75.44 - 72.74))
    assert found["stages_exhaustive"] == 15


def test_another_seed_walks_another_way(published: Path, capsys: pytest.CaptureFixture) -> None:
    orders = [replayed(capsys, published, "random", "--seed", str(n))["order"] for n in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_overrides_reach_the_policy(published: Path, capsys: pytest.CaptureFixture) -> None:
    whole = replayed(capsys, published, "adaptive", "policy.params.threshold=0")
    assert whole["stages_trained"] == 15
    assert replayed(capsys, published, "exhaustive", "max_length=2")["stages_trained"] == 9


def test_what_the_table_lacks_is_not_tried(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """No row for odc: its chains can't be begun. They count for the regret all the same."""
    rows = [item for item in SCORES.items() if item[0] != "odc"]
    table = write(tmp_path / "t.csv", "chain,score", *rows, ("moco>odc>relative_location", ""))
    rows[:] = [row for row in rows if not row[0].startswith("odc") and row[1] != 67.00]
    table = write(tmp_path / "t.csv", "chain,score", *rows, ("odc>moco", 75.44), ("odc", ""))
    found = replayed(capsys, table, "exhaustive")
    assert set(found["order"]) == {row[0] for row in rows}
    assert found["regret"] == pytest.approx(75.44 - 75.00)
    assert (found["stages_exhaustive"], found["stages_naive"]) == (9, 2 * 1 + 4 * 2 + 3 * 3)


def test_chains_of_the_tables_starts_are_one_search(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The rows of starts are left out, whatever their names."""
    rows = [("radimagenet:odc", 60), ("radimagenet:odc>moco", 70), ("odc", 50), ("moco", 55)]
    starts = [("radimagenet", 99), ("imagenet", 99), ("scratch", 99)]
    table = write(tmp_path / "t.csv", "chain,score", *rows, *starts)
    found = replayed(capsys, table, "exhaustive")
    assert found["order"] == ["moco", "odc", "radimagenet:odc", "radimagenet:odc>moco"]
    assert (found["best_chain"], found["regret"]) == ("radimagenet:odc>moco", 0)
    assert (found["stages_exhaustive"], found["stages_naive"]) == (4, 5)
    assert "max_starts=1: must be null" in refused(capsys, table, "max_starts=1")


def test_our_own_report_is_a_table(tmp_path: Path) -> None:
    from search.report.rows import build
    from search.results.records import ChainResult

    results = [
        ChainResult(Chain.parse("odc"), "done", scored(63.52, 61.0, 66.0)),
        ChainResult(Chain.parse("odc>moco"), "done", scored(75.44, 73.0, 77.5)),
        ChainResult(Chain.parse("moco"), "pruned", reason="who knows"),
        ChainResult(Chain((), "scratch"), "done", scored(49.27, 48.0, 50.0)),
        ChainResult(Chain((), "imagenet"), "not run", reason="no weights"),
    ]

    class Nothing:
        def manifest(self, key: str) -> None: ...

    build(results, Nothing(), BALANCED).write_csv(tmp_path / "chains.csv")  # type: ignore[arg-type]
    assert read(tmp_path / "chains.csv", BALANCED.name).scores == {
        Chain(("odc",)): scored(63.52, 61.0, 66.0),
        Chain(("odc", "moco")): scored(75.44, 73.0, 77.5),
    }


def test_the_score_is_the_first_column_of_numbers_or_the_one_named(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "note,chain,f1,auc", ("x", "odc", 1, 2), ("", "moco", "", 3))
    first, named = read(table, "none").scores, read(table, "none", "auc").scores
    assert {chain: (score.objective, score.value) for chain, score in first.items()} == {
        Chain(("odc",)): ("f1", 1)
    }
    assert {chain: (score.objective, score.value) for chain, score in named.items()} == {
        Chain(("odc",)): ("auc", 2), Chain(("moco",)): ("auc", 3),
    }  # fmt: skip


def test_controls_are_left_out(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "chain,score", ("odc", 1), ("moco>moco", 9), ("moco", 2))
    assert [*read(table, "score").scores] == [Chain(("odc",)), Chain(("moco",))]


@pytest.mark.parametrize(
    ("columns", "rows", "more", "said"),
    [
        ("chains,score", [("odc", 1)], [], "try chains"),
        ("chain,score", [("odc", "good")], [], "must have a column of numbers among chain, score"),
        ("chain,balanced_accuracy", [("odc", "good")], [], "row 2, balanced_accuracy=good: must"),
        ("chain,score", [("odc", 1), ("odc", 2)], [], "row 3: must not repeat the chain"),
        ("chain,score", [("odc>", 1)], [], "row 2: chain=odc>: must be task names"),
        ("chain,score", [], [], "must have a column of numbers"),
        ("chain,balanced_accuracy", [("odc", "")], [], "must have a number in the column"),
        ("chain,score", [("scratch", 1)], [], "must have a column of numbers"),
        ("chain,score", [("moco", 1), ("moco>swav", 1)], [], "moco>swav: must be one of moco, odc"),
        ("chain,score", [("mocc", 1)], [], "try moco"),
        ("chain,score", [("odc>moco", 1)], [], "must have a score for a single"),
        ("chain,score", [("odc", 1)], ["--column", "scor"], "try score"),
        ("chain,score", [("odc", 1)], ["--policy", "adaptiv"], "try adaptive"),
        ("chain,score", [("odc", 1)], ["--policy", "tune:bohb"], "policy=tune:bohb: must be a"),
        ("chain,score", [("odc", 1)], ["--policy", "tpe:optuna"], "policy.params.searcher"),
        ("chain,score", [("odc", 1)], ["--policy", "tun:optuna"], "try tune"),
        ("chain,score", [("odc", 1)], ["--budget", "0"], "budget=0: must"),
        ("chain,score", [("odc", 1)], ["policy.params.margi=1"], "margi"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(
    columns: str, rows: list, more: list, said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert said in refused(capsys, write(tmp_path / "t.csv", columns, *rows), *more)


def test_what_is_no_csv_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert "must be a CSV file" in refused(capsys, tmp_path)
    (tmp_path / "t.csv").write_bytes(b"chain,score\n\xff\xfe,1\n")
    assert "must be a CSV file" in refused(capsys, tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("")
    assert "must have the column chain" in refused(capsys, tmp_path / "t.csv")
