"""Bad input: whatever a user writes is taken or refused in one line, before anything starts."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from search import run, space
from search.space import check_plugins, load
from search.space.compose import composed
from trainables.errors import UserError
from trainables.plugins import available
from trainables.plugins import load as plugin
from trainables.schema import read

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = re.compile(r"[^\n]+?: must [^\n]+; try [^\n]+|[^\n]+, row \d+[^\n]*: [^\n]+")
TASKS = tuple(
    f"+task@tasks.{name}={name}"
    for name in available("trainables.pretext")
    if name not in ("moco", "odc", "relative_location")
)


def refused(name, *overrides):
    """The one line that says why."""
    with pytest.raises(UserError) as caught:
        check_plugins(load(name, overrides))
    assert TEMPLATE.fullmatch(str(caught.value)), caught.value
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tasks.moco.params.temperature=-1", "temperature=-1: must be a number from 0.001 to 10; "),
        ("tasks.moco.params.temperature='1'", "tasks.moco.params.temperature=1: must be a number"),
        ("tasks.moco.params.queue=many", "=many: must be a whole number from 1 to 16777216 or nul"),
        ("tasks.moco.params.queue=true", "queue=true: must be a whole number"),
        ("tasks.moco.params.crop=[0.5,0.2]", "crop=[0.5,0.2]: must be two numbers that rise"),
        ("tasks.moco.params.crop=[0.5]", "crop=[0.5]: must be a list of 2 values, each a number"),
        ("tasks.odc.params.dropout=1.5", "dropout=1.5: must be a number at least 0 and below 1"),
        ("tasks.relative_location.params.crop=0.9", "must be at most 1 with the border=0.1"),
        ("tasks.moco.params=3", "must be a section of keys; try tasks.moco.params.queue=null"),
        ("+tasks.moco.params.temprature=1", "temprature: must be one of crop, positives, queue,"),
        ("data.augment.rotate=-5", "data.augment.rotate=-5: must be a number from 0 to 180"),
        ("data.augment.hflip=1", "data.augment.hflip=1: must be true or false"),
        ("tasks.moco.lr_range=[0.1,1e30]", "lr_range=[0.1,1e+30]: must be"),
        ("downstream.lr_range=[1e30]", "downstream.lr_range=[1e+30]: must be"),
        ("data.fit=squash", "data.fit=squash: must be one of crop, pad, stretch; try crop"),
        ("data.trim=1", "data.trim=1: must be true or false; try false"),
        ("data.window=[400,-100]", "data.window=[400,-100]: must be two numbers that rise; try "),
        ("data.window=[1]", "data.window=[1]: must be a list of 2 values, each a number"),
        (
            "profile.image_size=512",
            "profile.image_size=512: must be at most profile.cache_size=256",
        ),
        ("seed=-1", "seed=-1: must be a whole number from 0 to 2147483647; try 0"),
        ("tasks.moco.weight_decay=nan", "weight_decay=NaN: must be a number from 0 to 1"),
        ("tasks.moco.weight_decay=inf", "weight_decay=Infinity: must be a number from 0 to 1"),
        ("downstream.weight_decay=-1", "weight_decay=-1: must be a number from 0 to 1; try 0.0001"),
        ("repeats=100000", "repeats=100000: must be a whole number from 1 to 100; try "),
        ("early_stop=nan", "early_stop=NaN: must be a number above 0 and at most 100 or null"),
        ("store=", "store=: must be a path; try runs/store"),
        ("cache='  '", "cache=  : must be a path; try runs/cache"),
        ("store=s3://bucket/x", "store=s3://bucket/x: must be a folder on a local or shared disk"),
        ("data.root=", "data.root=: must be a path or null"),
        ("name=../../etc", "name=../../etc: must be a name of letters"),
        ("name=.hidden", "name=.hidden: must be a name of letters"),
        ("tasks.moco.name=../moco", "tasks.moco.name=../moco: must be a name of letters"),
        ("policy.name=../tpe", "policy.name=../tpe: must be a name of letters"),
        ("policy.name=nothing", "policy.name=nothing: must be one of adaptive, curriculum"),
        (
            "data.name=nothing",
            "data.name=nothing: must be one of chestxray14, demo, folder, isic2019, medmnist",
        ),
        ("tasks=moco", "tasks=moco: must be a section of tasks, as +task@tasks.moco=moco adds one"),
        ("task=moco", "task=moco: must say its place; try +task@tasks.moco=moco"),
        ("downstream=3", "downstream=3: must be one of classify, segment; try classify"),
        (
            "data=null",
            "data=null: must be one of chestxray14, chexpert, cxr_covid, demo, folder, ham10000",
        ),
        ("data=../task/moco", "data=../task/moco: must be one of chestxray14, chexpert"),
        ("policy=../x", "policy=../x: must be one of adaptive"),
        ("policy=", "policy=: must be one of adaptive"),
        ("~policy", "policy: must be given; try policy.name=curriculum"),
        ("~seed", "seed: must be given; try seed=0"),
        ("=3", "=3: must be key=value"),
        ("seed", "seed: must be key=value"),
        ("", "'': must be key=value"),
        ("../x=3", "../x=3: must be key=value"),
        ("hydra.run.dir=x", "hydra.run.dir=x: must be key=value"),
        ("seed=1,2", "seed=1,2: must fit spaces/isic3.yaml"),
        ("~starts.scratch", "~starts.scratch: must fit spaces/isic3.yaml"),
        ("starts.dino=x", "starts.dino=x: must begin with + for a new name; try +starts.dino=x"),
        ("starts.scratch={chains: false}", "starts.scratch.chains=false: must be true, unless"),
        ("starts.scratch={trainable: 'last_blocks=1'}", "starts.scratch.trainable=last_blocks=1: "),
        ("starts.imagenet={weights: x, trainable: last}", "trainable=last: must be all or last_bl"),
        ("starts.imagenet={weight: x}", "starts.imagenet.weight: must be one of chains, trainable"),
        (
            "baselines.features={scratch: x}",
            "baselines.features.scratch: must not have the name of",
        ),
        ("baselines.features={odc: x}", "baselines.features.odc: must not have the name of a task"),
        ("baselines.features.a=x", "baselines.features.a=x: must begin with + for a new name"),
        ("max_starts=0", "max_starts=0: must be a whole number from 1"),
        ("downstream.kind=pretext", "kind=pretext: must be a kind that scores chains, as classify"),
        ("downstream.kind=probe", "downstream.kind=probe: must be a kind that scores chains"),
        ("downstream.params.objective=accuracy", "left out, as downstream.objective is the place"),
        ("data.pool={kind: classify}", "data.pool.kind=classify: must be a kind that makes a data"),
        ("data.pool={kind: start}", "data.pool.kind=start: must be a kind that makes a data set"),
        ("data.pool.kind=probe", "data.pool.kind=probe: must be a kind that makes a data set"),
        ("data.pool.params.images=1", "data.pool.kind: must be given; try data.pool.kind="),
        ("data.pool.knid=1", "data.pool.knid: must be one of kind, params; try kind"),
        ("data.pool=true", "data.pool=true: must be a section of keys or null; try null"),
        ("seed=[1", "seed=[1: must fit spaces/isic3.yaml"),
        ("store=${store}", "store=${store}: must fit spaces/isic3.yaml"),
        ("store=???", "store=???: must fit spaces/isic3.yaml"),
        (
            "tasks.moko.optimizer=sgd",
            "tasks.moko: must be one of moco, odc, relative_location; try moc",
        ),
        (
            "tasks.odc.version='9'",
            "tasks.odc.version: must be one of lr_range, lr_range_later, name, ",
        ),
        (
            "downstream.version='9'",
            "downstream.version: must be one of kind, lr_range, lr_range_later, obj",
        ),
        ("profil.steps=1", "profil: must be one of "),
        ("profile.stepz=1", "profile.stepz: must be one of "),
        ("profile=cpux", "profile=cpux: must be one of cpu, demo, gpu, smoke; try cpu"),
        ("max_length=9", "max_length=9: must be 1 to 3, the number of tasks"),
        ("seed=abc", "seed=abc: must be a whole number"),
        ("profile.warmup=2", "profile.warmup=2: must be a number at least 0 and below 1; try 0.1"),
        ("runtime.threads=-1", "threads=-1: must be a whole number from 1 to 4096 or null; try nu"),
        (
            "downstream.objective=macro_auc",
            "downstream.objective=macro_auc: must be one of accuracy, balanced_accuracy, brier, "
            "ece, macro_auroc, macro_average_precision; try macro_auroc",
        ),
        ("downstream.lr_range=[]", "downstream.lr_range=[]: must be a list of 1 to 32 values"),
        ("budget=[]", "budget=[]: must be whole stages"),
        ("runtime.workers=3", "runtime.workers=3: must divide profile.bn_groups=2"),
    ],
)
def test_bad_values_are_refused_in_one_line(override, said):
    assert said in refused("isic3", override)


def leaves(node, path=()):
    """The paths of all values, sections too."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield (*path, key)
        yield from leaves(value, (*path, key))


def put(node, path, value):
    """A copy with the value at the path."""
    if not path:
        return value
    return {**node, path[0]: put(node[path[0]], path[1:], value)}


WEIRD = ("", "abc", "../x", -1, 0, 1e30, float("nan"), float("inf"), None, [], {}, [None], True)


@pytest.mark.parametrize(
    ("overrides", "within"),
    [
        (["data=demo", *TASKS], ()),
        (["data=folder"], ("data",)),
        (["data=table", "policy=adaptive"], ("data", "policy")),
        (["policy=tpe"], ("policy",)),
    ],
)
def test_no_value_anywhere_raises_anything_else(overrides, within):
    """Every key of the composed space takes every weird value, or refuses it in one line."""
    whole = composed("isic3", overrides)
    paths = [path for path in leaves(whole) if not within or path[0] in within]
    assert len(paths) > (5 if within else 120)
    said = [refusal(whole, put(whole, path, value)) for path in paths for value in WEIRD]
    wrong = [text for text in said if text and not TEMPLATE.fullmatch(text)]
    assert wrong == []
    assert 0 < said.count("") < len(said) / 3


def refusal(whole, given):
    """Return the error for the values; "" if they are accepted."""
    try:
        made = read(space.Space, given, usual=lambda: whole)
        check_plugins(made)
        plugin("trainables.data", made.data.name)(None, made.data.params)
        plugin("search.policies", made.policy.name)(
            tuple(made.tasks), made.max_length, made.budget.stages, made.seed, made.policy.params
        )
    except UserError as error:
        return str(error)
    return ""


PLUGINS = [
    (package, folder, name)
    for folder, package in (
        ("task", "trainables.pretext"), ("policy", "search.policies"), ("data", "trainables.data"),
    )
    for name in available(package)
]  # fmt: skip


@pytest.mark.parametrize(("package", "folder", "name"), PLUGINS)
def test_parameters_are_declared_with_the_defaults_of_the_yaml_file(package, folder, name):
    kind = plugin(package, name)
    usual = yaml.safe_load((space.SPACES / folder / f"{name}.yaml").read_text())["params"]
    none = {"exclude_classes": []} if folder == "data" else {}
    known = asdict(read(kind.Params, usual, "here"))
    if name == "chestxray14":  # what is left out of them is as in a table
        none |= {key: known[key] for key in ("labels", "splits")}
    assert {**asdict(kind.Params()), **none} == {**known, **none}
    assert usual.keys() == known.keys()
    assert read(kind.Params, usual, "here") is not None
    for key in usual if folder == "task" else ():
        with pytest.raises(UserError, match=rf"^here\.{key}=abc: must .*; try "):
            read(kind.Params, {**usual, key: "abc"}, "here", lambda: usual)


# The command: the dry run refuses what the search would, and creates nothing.


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(capsys, *arguments):
    """Status and the lines on stderr."""
    status = run.main(["--space", "isic3", "profile=smoke", *arguments])
    return status, capsys.readouterr().err.splitlines()


def test_among_many_overrides_the_one_that_does_not_fit_is_named():
    said = refused("isic3", "policy.params.margin=1", "policy=adaptive", "seed=1,2", "seed=3")
    assert said.startswith("seed=1,2: must fit spaces/isic3.yaml")


def test_a_task_cannot_have_the_name_of_a_start(monkeypatch):
    """Its chains would be taken for the baseline, and never be trained."""
    own = {**composed("isic3", ("max_length=1",)), "tasks": {"imagenet": {"name": "imagenet"}}}
    monkeypatch.setattr(space, "composed", lambda *_: own)
    assert refused("isic3").startswith("tasks.imagenet: must not have the name of a start; try")


def weights(where, name="resnet10", **more):
    from trainables.backbone import Backbone

    state = Backbone(name).net.state_dict() | more
    if where.suffix == ".pth":
        torch.save(state, where)
    else:
        save_file(state, where)
    return where


def prepare(here):
    """Create the files that the table below names."""
    (here / "file").write_text("x")
    (here / "old").mkdir()
    (here / "old" / "STORE.json").write_text('{"format": 999}')
    (here / "folder.pth").mkdir()
    (here / "text.pth").write_text("no weights")
    (here / "empty.safetensors").write_bytes(b"")
    torch.save({"a": Path("x")}, here / "code.pth")
    torch.save([1, 2], here / "list.pth")
    whole = weights(here / "whole.safetensors").read_bytes()
    (here / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    weights(here / "other.pth", "resnet18")


@pytest.mark.parametrize("dry", [True, False], ids=["dry-run", "search"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", ""], "--data=: must not be empty"),
        (["--out", ""], "--out=: must not be empty"),
        (["--address", ""], "--address=: must not be empty"),
        (["--policy", ""], "--policy=: must not be empty"),
        (["--budget", " "], "--budget= : must not be empty"),
        (["--tracking-uri", ""], "--tracking-uri=: must not be empty"),
        (["--policy", "../x"], "policy=../x: must be one of adaptive"),
        (["--budget", "soon"], "budget=soon: must be whole stages"),
        (["--policy", "curiculum"], "must be one of adaptive, curriculum, exhaustive, random, tp"),
        (["--budget", "0"], "budget=0: must be whole stages"),
        (["--budget", "1e9d"], "budget=1e9d: must be whole stages"),
        (["--budget", "9" * 400], "budget=999"),
        (["--budget", "8h,x"], "budget=8h,x: must be whole stages"),
        (["--space", "../isic3"], "--space=../isic3: must be one of cxr4, isic3, lungs, skin5"),
        (["--space", ""], "--space=: must be one of cxr4, isic3"),
        (["--data", "nowhere"], "nowhere: must be the folder that holds"),
        (["--data", ".", "data=demo"], "--data=.: must be left out with data=demo"),
        (["profile.batch=2048"], "profile.batch=2048: must be at most the 839 image"),
        (["tasks.odc.params.clusters=600"], "tasks.odc.params.clusters=600, min_cluster=1: must"),
        (["--data", "file", "data=folder"], "file: must be the folder that holds"),
        (["profile.backbone=resnet9"], "profile.backbone=resnet9: must be"),
        (["tasks.moco.params.temperature=-1"], "tasks.moco.params.temperature=-1: must be"),
        (["policy=adaptive", "policy.params.margin=-1"], "policy.params.margin=-1: must be"),
        (["data.params.n=0"], "data.params.n=0: must be a whole number from 1 to 100000; try 1400"),
        (["starts.imagenet=none.pth"], "/none.pth: must be a file to read (No such file"),
        (["starts.imagenet=folder.pth"], "/folder.pth: must be a file to read (Is a dir"),
        (["starts.imagenet=text.pth"], "text.pth: must be a whole .safetensors or weights-only"),
        (["starts.imagenet=code.pth"], "code.pth: must be a whole .safetensors or weights-only"),
        (["starts.imagenet=list.pth"], "list.pth: must hold named tensors"),
        (["starts.imagenet=cut.safetensors"], "cut.safetensors: must be a whole .safetensors"),
        (["starts.imagenet=empty.safetensors"], "empty.safetensors: must be a whole .safete"),
        (["starts.imagenet=other.pth"], "other.pth: must fit profile.backbone"),
        (["store=s3://bucket/x"], "store=s3://bucket/x: must be a folder on a local or shared"),
        (["store=file"], "/file: must be a folder to write to"),
        (["store=file/below"], "/file/below: must be a folder to write to"),
        (["store=/proc/self/store"], "store=/proc/self/store: must be a folder to write to"),
        (["store=old"], "/old: must be of format 3, which this version writes, not 999"),
        (["cache=file"], "/file: must be a folder to write to"),
        (["--out", "file"], "--out="),
        (["--out", "x" * 300], "--out="),
        (["--out", "/dev/null/x"], "--out=/dev/null/x: must be a folder to write to"),
        (["--tracking-uri", "ftp://x"], "--tracking-uri"),
        (["--tracking-uri", "sqlite:///no/such/mlflow.db"], "--tracking-uri"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)  # fmt: skip
def test_the_dry_run_refuses_what_the_search_does(here, capsys, arguments, said, dry):
    prepare(here)
    before = sorted(here.rglob("*"))
    status, lines = command(capsys, *arguments, *(["--dry-run"] if dry else []))
    assert status == 2, lines
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert said in errors[0]
    if "--tracking-uri" not in said:  # said by the tracker
        assert TEMPLATE.fullmatch(errors[0]), errors
    assert sorted(here.rglob("*")) == before


def test_weights_with_a_layer_too_many_are_refused_by_a_dry_run(here, capsys):
    file = weights(here / "extra.pth", fc_weight=torch.zeros(1))
    assert command(capsys, "--dry-run", f"starts.imagenet={file}")[0] == 2


@pytest.mark.slow
def test_a_dry_run_that_is_taken_says_its_plan_loads_no_ray_and_creates_nothing(here):
    """It loads torch, as the tasks check their parameters, and times their steps: hence one."""
    file = weights(here / "good.pth", **{"fc.weight": torch.zeros(1)})
    before = sorted(here.rglob("*"))
    code = (
        "import sys, atexit; from search.run import main;"
        "atexit.register(lambda: print({'ray', 'mlflow'} & set(sys.modules)));"
        "main(sys.argv[1:])"
    )
    few = ["profile=smoke", "~tasks.relative_location", "~tasks.odc", "max_length=1", "repeats=3"]
    more = ["--out", "a/b", "store=c/d", "cache=e", f"starts.imagenet={file}"]
    done = subprocess.run(
        [sys.executable, "-c", code, "--space", "isic3", "--dry-run", "--json", *few, *more],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    *_, said, loaded = done.stdout.splitlines()
    plan = json.loads(said)
    assert plan["chains"] == ["moco", "imagenet:moco"]
    stages = [plan[f"stages_{kind}"] for kind in ("naive", "shared", "minimum", "maximum")]
    assert stages == [2, 2, 2, 2]
    assert (plan["repeats"], plan["images"], plan["demo"]) == ([2, 2], 839, True)
    assert 0 < plan["span"]["minimum"] <= plan["span"]["maximum"]
    assert plan["timed"].keys() == {"moco", "classify"}
    assert loaded == "set()"
    assert sorted(here.rglob("*")) == before


def test_a_folder_that_may_not_be_written_to_is_refused(here, monkeypatch):
    """Permissions do not hold for root, hence the stand-in."""
    from search.store.places import check_writable

    check_writable("store", here / "a" / "b")
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)))
    with pytest.raises(UserError, match=r"^store=.*/a/b: must be a folder .* is read-only"):
        check_writable("store", here / "a" / "b")
    assert asked == [(here, os.W_OK | os.X_OK)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a:\n\t- x\n", "own.yaml: must be YAML in UTF-8"),
        (b"a: [1\n", "own.yaml: must be YAML in UTF-8"),
        (b"name: J\xf6rg\n", "own.yaml: must be YAML in UTF-8"),
        (b"", "name: must be given"),
        (b"- 3\n", "own.yaml: must hold keys with values"),
        (b"3\n", "own.yaml: must hold keys with values"),
        (b"defaults: [isic3, _self_]\nseeed: 3\n", "seeed: must be one of "),
        (b"defaults: [isic3, _self_]\nname: ../x\n", "name=../x: must be a name of letters"),
        (
            b"defaults: [nothing]\n",
            "spaces/own.yaml: must fit the files it names (In 'own': Could not load 'nothing'",
        ),
        (b"name: own\n", "must be given"),
    ],
)
def test_a_broken_space_file_is_named(here, monkeypatch, content, said):
    for folder in space.SPACES.iterdir():
        (here / folder.name).symlink_to(folder)
    (here / "own.yaml").write_bytes(content)
    (here / "folder.yaml").mkdir()
    monkeypatch.setattr("search.space.compose.SPACES", here)
    assert said in refused("own")
    assert "folder" not in refused("folder").partition("must")[2]


def test_a_data_file_that_cannot_be_read_is_named(here):
    (here / "images").mkdir()
    (here / "folder.csv").mkdir()
    (here / "nul.csv").write_bytes(b"image,label,group\n\0,a\n")
    (here / "quote.csv").write_text('image,label,group\n"a,b,c' + "x" * 140_000)
    for name in ("folder.csv", "nul.csv", "quote.csv", "none.csv"):
        made = plugin("trainables.data", "table")(here, {"csv": name})
        with pytest.raises(UserError) as caught:
            made.table()
        assert TEMPLATE.fullmatch(str(caught.value))
        named = name if name == "none.csv" else str(here / name)
        assert named in str(caught.value)


def test_an_unreadable_folder_is_named_rather_than_skipped(here, monkeypatch):
    """Permissions do not hold for root, hence the stand-in."""
    from trainables.data._walk import subfolders, walk

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    monkeypatch.setattr(Path, "iterdir", denied)
    for reader in (walk, subfolders):
        with pytest.raises(UserError, match=r"must be readable \(Permission denied\); try"):
            reader(here)


@pytest.mark.parametrize("package", ["trainables.pretext", "trainables.data", "search.policies"])
@pytest.mark.parametrize(
    "name", ["../plugins", "..plugins", "_files", "__init__", "", "a.b", "a/b"]
)
def test_a_plugin_is_found_in_its_folder_only(package, name):
    with pytest.raises(UserError, match=f"={re.escape(name)}: must be one of "):
        plugin(package, name)


def test_yaml_defaults_are_within_what_is_allowed():
    for path in sorted(space.SPACES.glob("*/*.yaml")):
        assert isinstance(yaml.safe_load(path.read_text()), dict)
    for profile in ("cpu", "gpu", "demo", "smoke"):
        check_plugins(load("isic3", [f"profile={profile}", *TASKS]))
