"""How the command ends: signals and cleaning up, in processes of their own."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
WAIT = """
import sys, time
from search.console import exit
exit.listen()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    exit.heard()
    time.sleep(float(sys.argv[1]))  # the report is written
    print("written", flush=True)
    sys.exit(exit.status())
"""


def waiting(seconds=0.0, **options):
    command = [sys.executable, "-c", WAIT, str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 0)],
)
def test_each_signal_has_its_status(number, status):
    process = waiting()
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == "written\n"
    assert process.returncode == status


def test_a_scheduler_that_repeats_itself_does_not_cut_the_report():
    process = waiting(0.5)
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "written\n"
    assert process.returncode == 0


def test_a_second_ctrl_c_ends_at_once():
    process = waiting(30)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[0] == ""


def test_under_nohup_a_hangup_is_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = waiting()
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_a_terminal_that_is_gone_does_not_cut_the_report(tmp_path):
    code = WAIT.replace('print("written", flush=True)', 'print("x" * 10, flush=True); done()')
    done = f"import pathlib\ndef done(): pathlib.Path({str(tmp_path / 'done')!r}).touch()\n"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", done + code, "0.3"],
        cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert b"ready" in os.read(ours, 100)
    process.send_signal(signal.SIGHUP)
    os.close(ours)  # the connection is dropped
    assert process.wait(timeout=30) == 129
    assert (tmp_path / "done").exists()


ABANDON = """
import threading, time
from search.console import exit
from trainables.errors import MachineFault
exit.listen()
over = threading.Event()
thread = threading.Thread(target=exit.abandon, args=(over, 0.1, "the broker is gone"))
thread.start()
try:
    time.sleep(60)
except MachineFault as fault:
    print(fault)
"""


def test_a_main_thread_that_waits_for_what_is_gone_is_told():
    done = subprocess.run(
        [sys.executable, "-c", ABANDON], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "the broker is gone\n", done.stderr


LEAVE = """
import subprocess, sys, threading
from pathlib import Path
from search.console.exit import discard, leave

scratch = Path(sys.argv[1])
write = "import itertools, pathlib, sys\\nfor i in itertools.count():\\n"
write += "    folder = pathlib.Path(sys.argv[1]) / str(i % 9)\\n"
write += "    folder.mkdir(parents=True, exist_ok=True)"
child = subprocess.Popen([sys.executable, "-c", write, str(scratch)])
threading.Thread(target=threading.Event().wait).start()  # as one that waits for Ray
while not (scratch / "8").exists():
    pass
discard(scratch)
print(child.pid)
leave(3)
"""


def test_neither_threads_nor_children_nor_what_they_write_stay(tmp_path):
    scratch = tmp_path / "ray"
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, str(scratch)],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    child = int(done.stdout)  # printed before it left, though stdout is a pipe
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"
    assert not scratch.exists()
