"""A plug-in's version is read from its source, as the class has it, and must be there."""

import subprocess
import sys

import pytest

from trainables import plugins
from trainables.errors import UserError
from trainables.plugins import available, load, version

VERSIONED = [
    *(("trainables.pretext", name) for name in available("trainables.pretext")),
    *(("trainables.kinds", name) for name in available("trainables.kinds")),
]


@pytest.mark.parametrize(("package", "name"), VERSIONED)
def test_the_version_read_is_the_classs_own(package: str, name: str) -> None:
    assert version(package, name) == load(package, name).version


def test_reading_a_version_loads_no_torch() -> None:
    code = (
        "import sys; from trainables.plugins import version\n"
        f"print([version(*one) for one in {VERSIONED}], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("] False\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    "source",
    [
        "class Plugin(Task):\n    forwards = (1, 1)\n",
        "class Plugin(Task):\n    version = str(1)\n",
        "class Plugin(Task):\n    version = 1\n",
        "version = '1'\nclass Other:\n    version = '1'\nclass Plugin:\n    pass\n",
    ],
    ids=["none", "no literal", "a number", "elsewhere"],
)
def test_a_plugin_without_a_version_is_refused(tmp_path, monkeypatch, source: str) -> None:
    (tmp_path / "own.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_module", lambda *_: "own")
    said = r'^trainables.pretext.own: must have a version in its class Plugin; try `version = "1"`'
    with pytest.raises(UserError, match=said):
        version("trainables.pretext", "own")
