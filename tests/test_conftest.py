"""How a run of the tests is spread, ordered and summed up, tried on suites of a few lines."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRIED = """
import os
import pytest

def test_where():
    print("threads", os.environ["OMP_NUM_THREADS"])

@pytest.mark.parametrize("n", [1, 2])
def test_skipped(n):
    pytest.skip("no real images: ../shared is not there")

def test_skipped_otherwise():
    pytest.skip("no browser")
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    for name in ("test_a.py", "test_command.py"):
        (tmp_path / "tests" / name).write_text(TRIED)

    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_the_suite_is_spread_and_what_it_could_not_try_is_said_in_one_line(suite):
    lines = suite().stdout.splitlines()
    assert any("2 workers" in line for line in lines)
    assert lines[-2].startswith("not tried on real images")
    assert lines[-2].endswith(": 4 tests, tests/test_a.py, tests/test_command.py")


def test_a_part_runs_in_this_process_with_one_thread_and_the_longest_first(suite):
    files = ("tests/test_a.py", "tests/test_command.py")
    said = suite("-s", "-k", "where or otherwise", *files).stdout
    assert "workers" not in said
    assert said.count("threads 1") == 2
    assert said.index("test_command.py::test_where") < said.index("test_a.py::test_where")
    assert "not tried on real images" not in said
