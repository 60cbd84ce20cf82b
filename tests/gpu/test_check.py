"""The GPU check on a CPU, as a machine without Ray runs it."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LACKING = """
import sys
for name in ("ray", "mlflow", "hydra", "omegaconf", "optuna"):
    sys.modules[name] = None
"""


def run(tmp_path, *command):
    (tmp_path / "sitecustomize.py").write_text(LACKING)
    known = {**os.environ, "PYTHONPATH": f"{tmp_path}:{HERE.parents[1]}", "PYTHON": sys.executable}
    done = subprocess.run([*command, "--out", tmp_path], env=known, capture_output=True, text=True)
    content = json.loads((tmp_path / "check.json").read_text())
    return done, {(row["part"], row["row"]): row["value"] for row in content["rows"]}


@pytest.mark.slow
def test_the_small_check_fills_every_part_of_the_table(tmp_path):
    done, rows = run(tmp_path, HERE / "check.sh", "--small")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {rows[part, "status"] for part in ("tests", "bench", "steps", "stages")} == {0}
    assert any("makes_a_gpu_wait" in name for part, name in rows if part == "tests")
    assert rows["bench", "moco torchvision"] > 0
    assert rows["steps", "resnet10 32 px, processes: 2"] > 0
    four, one = (rows["steps", f"resnet10 32 px, BatchNorm groups: {n}; launches"] for n in (4, 1))
    assert four > one
    for name in ("moco", "fine-tuning"):
        assert math.isfinite(rows["stages", name])


def test_a_part_that_is_cut_is_in_the_table_and_fails_the_check(tmp_path):
    cut = "import check; check.LIMITS['stages'] = 0.2; check.PATIENCE = 1; sys.exit(check.main())"
    command = (sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HERE)!r}); {cut}")
    done, rows = run(tmp_path, *command, "--small", "--parts", "stages")
    assert done.returncode == 1
    assert rows == {("stages", "status"): "cut after 0.2 s"}
