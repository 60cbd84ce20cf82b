"""The end of the command, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[3]

COMMAND = """
import subprocess, sys, threading
from pathlib import Path
from search.console.leaving import leave, without

scratch = Path(sys.argv[1])
write = "import itertools, pathlib, sys\\nfor i in itertools.count():\\n"
write += "    folder = pathlib.Path(sys.argv[1]) / str(i % 9)\\n"
write += "    folder.mkdir(parents=True, exist_ok=True)"
child = subprocess.Popen([sys.executable, "-c", write, str(scratch)])
threading.Thread(target=threading.Event().wait).start()  # as one that waits for Ray
while not (scratch / "8").exists():
    pass
without(scratch)
print(child.pid)
leave(3)
"""


def test_neither_threads_nor_children_nor_what_they_write_stay(tmp_path):
    scratch = tmp_path / "ray"
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, str(scratch)],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    child = int(done.stdout)  # printed before it left, though stdout is a pipe
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"
    assert not scratch.exists()
