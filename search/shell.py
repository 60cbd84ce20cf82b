"""Commands for the user to type: after `uv run`, where that started this process.

print(typed("mlflow", "ui"))     # uv run mlflow ui
"""

import os
import shlex

PROGRAM = "search/run.py"


def typed(*words: str) -> str:
    """Return a shell command of these words. uv sets UV for what it runs."""
    return shlex.join([*(("uv", "run") if "UV" in os.environ else ()), *words])


def search(*words: str) -> str:
    """Return the search's command with these arguments."""
    return typed("python", PROGRAM, *words)
