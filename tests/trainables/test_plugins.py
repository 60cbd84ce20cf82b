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


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install entry points for kinds, name by module; the modules are made by the tests."""
    monkeypatch.syspath_prepend(tmp_path)

    def forget() -> None:
        for cached in (plugins._elsewhere, plugins.folders, plugins.version):
            cached.cache_clear()

    def install(**modules: str) -> None:
        about = tmp_path / "own-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
        points = "".join(f"trainables.kinds.{k} = {v}\n" for k, v in modules.items())
        (about / "entry_points.txt").write_text(f"[{plugins.ENTRY_POINTS}]\n{points}")
        forget()

    yield install
    forget()


def test_a_package_may_be_a_single_module_without_a_folder_spaces(tmp_path, installed) -> None:
    (tmp_path / "own_single.py").write_text('class Plugin:\n    version = "7"\n')
    before = plugins.folders()
    installed(single="own_single")
    assert plugins.folders() == before
    assert load("trainables.kinds", "single").version == version("trainables.kinds", "single")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "ModuleNotFoundError"),
        ("import no_such_thing_at_all", "No module named 'no_such_thing_at_all'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x = 1", "has no attribute 'Plugin'"),
    ],
    ids=["absent", "import fails", "raises", "no Plugin"],
)
def test_a_broken_package_spoils_nothing_but_its_own_plugin(
    tmp_path, installed, source: str | None, said: str
) -> None:
    name = f"own_broken_{abs(hash(source))}"
    if source is not None:
        (tmp_path / f"{name}.py").write_text(source)
    installed(broken=f"{name}")
    assert "broken" in available("trainables.kinds")
    plugins.folders()
    with pytest.raises(UserError, match=rf"^trainables.kinds.broken: must be .*{said}.*; try"):
        load("trainables.kinds", "broken")


def test_the_version_of_an_absent_module_is_one_line(installed) -> None:
    installed(absent="own_absent.kind")
    with pytest.raises(UserError, match=r"^trainables.kinds.absent: must be a module with a class"):
        version("trainables.kinds", "absent")
