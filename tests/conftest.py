"""How tests run: the whole suite in two processes, a part of it in one; what was not tried.

A file's tests stay together (`--dist loadfile`), so that its module fixtures are made once. The
files that take longest come first: a process that gets one of them last would work on alone.
"""

import os
import signal

import pytest

for ignored in (signal.SIGINT, signal.SIGHUP):  # as in a background job; searches inherit it
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, signal.SIG_DFL)
os.environ.pop("UV", None)  # set under `uv run`: commands that are printed begin with it then
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in children

LONGEST = (
    "test_chaos.py",
    "test_command.py",
    "test_stage.py",
    "test_learning.py",
    "test_masks.py",
    "test_mirror.py",
    "test_check.py",
    "test_sockets.py",
)
NO_IMAGES = "no real images"  # how a test says that ../shared is missing


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return 2 if config.args == ["tests"] else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    without = [report.nodeid for report in skipped if NO_IMAGES in str(report.longrepr)]
    if without:
        terminalreporter.write_line(
            f"not tried on real images, since ../shared/data is not there: {len(without)} tests, "
            + ", ".join(sorted({node.partition("::")[0] for node in without}))
        )
