"""Commands for the user to type."""

from search import shell


def test_a_command_begins_with_uv_run_where_uv_has_started_this_process(monkeypatch):
    plain = "python search/run.py --out 'with space' '~tasks.odc'"
    assert shell.search("--out", "with space", "~tasks.odc") == plain
    monkeypatch.setenv("UV", "/usr/bin/uv")
    assert shell.search("--out", "with space", "~tasks.odc") == f"uv run {plain}"
    assert shell.typed("mlflow", "ui") == "uv run mlflow ui"
