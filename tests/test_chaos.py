"""One seed of tests/chaos.py: random faults of the machine against a real search."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.long
def test_two_faults_change_no_result():
    command = [sys.executable, "tests/chaos.py", "--quick", "--seed", "69", "--faults", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
