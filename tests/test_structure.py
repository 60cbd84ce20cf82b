"""The shape of the code: who may import what, and the tools that hold the style."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(ROOT / "search").rglob("*.py"), *(ROOT / "trainables").rglob("*.py")])
ALLOWED = {
    "hydra": {"search/space/compose.py"},
    "omegaconf": {"search/space/compose.py"},
    "mlflow": {"search/tracking/mirror.py"},
    "ray": {
        "search/cluster/connection.py",
        "search/cluster/gpu_sharing.py",
        "search/cluster/worker_groups.py",
        "search/cluster/engine.py",
        "search/cluster/trials.py",
        "search/policies/tune.py",
        "trainables/workers/rendezvous.py",
        "trainables/workers/worker.py",
    },
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("library", ALLOWED)
def test_only_the_named_files_import(library):
    users = {str(p.relative_to(ROOT)) for p in SOURCES if library in imported(p)}
    assert users == ALLOWED[library]


def test_trainables_never_import_search():
    inside = [p for p in SOURCES if p.is_relative_to(ROOT / "trainables")]
    assert inside
    assert [p for p in inside if "search" in imported(p)] == []


def test_search_imports_no_torch():
    inside = [p for p in SOURCES if p.is_relative_to(ROOT / "search")]
    assert [p for p in inside if imported(p) & {"torch", "torchvision", "safetensors"}] == []


def test_help_loads_nothing_heavy():
    unwanted = {"torch", "ray", "mlflow", "matplotlib"}
    code = (
        "import sys, atexit; from search.run import main;"
        f"atexit.register(lambda: print({unwanted} & set(sys.modules)));"
        "main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr


def test_few_files_name_the_default_measure():
    """Whatever shows a score takes title and unit from its declaration."""
    folders = ("search", "trainables", "spaces")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*.*")]
    product = [p for p in files if p.suffix in (".py", ".html", ".txt", ".yaml")]
    named = [p for p in product if re.search("balanced.accuracy", p.read_text(), re.IGNORECASE)]
    assert named
    assert len(named) <= 7, named


def test_the_mlflow_folder_cannot_shadow_the_library():
    assert list((ROOT / "mlflow").rglob("*.py")) == []


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join
)
def test_style(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_error_says_what_must_be_and_what_to_try():
    """`WHERE=VALUE: must be ...; try ...`; a text that a function made is that function's."""
    wrong, seen = [], 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "UserError":
                text, made = ast.unparse(node.args[0]), node.args[0]
                whole = isinstance(made, ast.JoinedStr) and len(made.values) > 3
                seen += whole
                if (
                    whole
                    and not ("must " in text and "try " in text)
                    and not re.search(r"\b(one_of|_explained)\(", text)
                ):
                    wrong.append((str(path.relative_to(ROOT)), text))
    assert seen > 60
    assert wrong == []


def test_no_function_over_sixty_lines_and_no_file_over_four_hundred():
    long = []
    for path in SOURCES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno >= 60:
                    long.append(f"{path}:{node.lineno} {node.name}")
    assert long == []
