"""Code in bundles: hostile configs that MONAI's parser does run are refused before it sees them; the zoo's pass."""

import ast
import inspect
import json
import multiprocessing
import pickle
import re
import subprocess
import sys
import textwrap
import tomllib
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from monai.bundle import ComponentLocator, ConfigParser
from packaging.requirements import Requirement

from services.backends.inference import inference_config, runner
from services.backends.inference.bundle_code import components, names, outside_of, outside_of_bundle
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.embedded import EmbeddedSegmenter
from services.settings import REPOSITORY
from services.triage.errors import ModelRefused
from tests.backends.test_runner import ARGMAX, a_bundle, a_volume
from tests.support.bundle import Payload, pickled_array

Config = dict[str, Any]
KEY = "a + [1][open('{m}', 'w')"
SUBCLASS = "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0]"
TARGET = "subprocess.getoutput"

HOSTILE: dict[str, tuple[Config, str]] = {
    "a target outside MONAI": ({"x": {"_target_": TARGET, "cmd": "touch {m}"}}, "x: _target_ 'subprocess.getoutput'"),
    "a function of MONAI that starts processes": (
        {"x": {"_target_": "run_cmd", "cmd_list": ["touch", "{m}"]}},
        "x: _target_ 'run_cmd'",
    ),
    "a target through a module of MONAI": (
        {"x": {"_target_": "monai.data.utils.os.system", "command": "touch {m}"}},
        "x: _target_ 'monai.data.utils.os",
    ),
    "a target by reference": ({"name": TARGET, "x": {"_target_": "@name", "cmd": "touch {m}"}}, "x: _target_ '@name'"),
    "a target that is put together": ({"x": {"_target_": "$'os.sys' + 'tem'", "command": "touch {m}"}}, "x: _target_ "),
    "a target in a key that reaches into another section": (
        {"x": {"_target_": "torch.nn.Identity"}, "x#_target_": "os.system", "x#command": "touch {m}"},
        "the key 'x#_target_'",
    ),
    "a reader that MONAI looks up by its name": (
        {"x": {"_target_": "LoadImaged", "keys": "image", "reader": TARGET, "cmd": "touch {m}"}},
        "x: the argument reader",
    ),
    "a reader that a partial loader is given later": (
        {
            "l": {"_target_": "LoadImaged", "_mode_": "callable"},
            "x": "$@l(['image'], '" + TARGET + "', cmd='touch {m}')",
        },
        "l: _mode_ 'callable' of LoadImaged",
    ),
    "deep in a list": (
        {
            "x": {
                "_target_": "Compose",
                "transforms": [{"_target_": "Identity"}, {"_target_": "os.system", "command": "touch {m}"}],
            }
        },
        "x#transforms#1: _target_ 'os.system'",
    ),
    "whether it is disabled": (
        {"x": {"_target_": "Identity", "_disabled_": "$__import__('os').system('touch {m}')"}},
        "x#_disabled_: the attribute '.system'",
    ),
    "what it requires": (
        {"x": {"_target_": "Identity", "_requires_": ["$__import__('os').system('touch {m}')"]}},
        "x#_requires_#0: ",
    ),
    "an import in an expression": ({"x": "$__import__('os').system('touch {m}')"}, "x: the attribute '.system'"),
    "an import statement": (
        {"imports": ["$from os import system"], "x": "$system('touch {m}')"},
        "imports#0: an import of 'os.system'",
    ),
    "an import as something else": (
        {"imports": ["$import glob", "$import os as glob"], "x": "$glob.system('touch {m}')"},
        "something else",
    ),
    "a module in a module of torch": (
        {"x": "$torch.serialization.os.system('touch {m}')"},
        "x: the name 'torch.serial",
    ),
    "what any object knows of Python": (
        {"x": f"${SUBCLASS}.__init__.__globals__['system']('touch {{m}}')"},
        "x: the attribute '.__",
    ),
    "a name that a loop hides": ({"x": "$[open for open in [1]] and open('{m}', 'w')"}, "x: the name 'open'"),
    "an assignment": ({"x": "$(f := open)('{m}', 'w')"}, "x: the construct NamedExpr"),
    "a name in letters of another script": ({"x": "$\uff4f\uff50\uff45\uff4e('{m}', 'w')"}, "x: the name 'open'"),
    "a lambda of a transform": (
        {"l": {"_target_": "Lambda", "func": "$lambda i: numpy.f2py.os.system('touch {m}')"}, "x": "$@l(1)"},
        "l#func: the name 'numpy.f2py.os.system'",
    ),
    "a function by way of another": (
        {"imports": ["$import functools"], "x": "$functools.partial(torch.serialization.os.system, 'touch {m}')()"},
        "x: the name",
    ),
    "a key that a relative reference puts into an expression": (
        {"a": 1, KEY: {"x": "$@#c]", "c": 1}},
        "below a key that is not a word",
    ),
    "a pickle": ({"x": "$torch.load('{p}', weights_only=False)"}, "x: the argument 'weights_only'"),
    "a pickle, later": ({"x": "$(lambda f: f('{p}', weights_only=False))(torch.load)"}, "x: "),
    "a pickle that a loader reads": (
        {"l": {"_target_": "LoadImage", "allow_pickle": True}, "x": "$@l('{n}')"},
        "l: the argument allow_pickle = True of LoadImage",
    ),
    "a pickle that a loader reads, asked for by a reference": (
        {"yes": True, "l": {"_target_": "LoadImaged", "keys": "k", "allow_pickle": "@yes"}, "x": "$@l({'k': '{n}'})"},
        "l: the argument allow_pickle = '@yes' of LoadImaged",
    ),
    "a pickle that a reader reads for a loader": (
        {
            "l": {"_target_": "LoadImage"},
            "r": {"_target_": "NumpyReader", "allow_pickle": True},
            "x": "$@l('{n}', @r)",
        },
        "r: the argument allow_pickle = True of NumpyReader",
    ),
    "a pickle in a cache": (
        {
            "d": {
                "_target_": "PersistentDataset",
                "data": ["a"],
                "transform": "$lambda i: i",
                "cache_dir": "{d}",
                "hash_func": "$lambda i: b'evil'",
                "weights_only": False,
            },
            "x": "$@d[0]",
        },
        "d: _target_ 'PersistentDataset'",
    ),
    "a module by way of its import statement": (
        {"m": ["$import os"], "x": "$@m#0.replace('{o}', '{m}')"},
        "x: a reference to the import statements, '@m::0'",
    ),
    "a module by way of the list of imports": (
        {"m": ["$import os"], "x": "$@m[0].replace('{o}', '{m}')"},
        "x: a reference to the import statements, '@m'",
    ),
    "a module by way of a macro": (
        {"m": ["$import os"], "o": "%m#0", "x": "$@o.replace('{o}', '{m}')"},
        "o: a reference to the import statements, '%m::0'",
    ),
    "a module by way of a relative reference": (
        {"y": {"i": "$import os", "x": "$@#i.replace('{o}', '{m}')"}, "x": "@y#x"},
        "y#x: a reference to the import statements, '@::i'",
    ),
    "a file that a macro reads": ({"x": "%{f}::x"}, "reads a file that is not in the bundle"),
}


def hostile(case: str, folder: Path) -> tuple[Path, Path]:
    """The config, and the file that it makes when it runs."""
    marker, pickled, other = folder / "marker", folder / "evil.pt", folder / "evil.json"
    folder.mkdir()
    pickled.write_bytes(pickle.dumps(Payload(marker), protocol=2))
    other.write_text(json.dumps({"x": {"_target_": TARGET, "cmd": f"touch {marker}"}}))
    text = json.dumps(HOSTILE[case][0]).replace("{m}", str(marker)).replace("{p}", str(pickled))
    text = text.replace("{n}", str(pickled_array(folder / "evil.npy", marker))).replace("{d}", str(folder))
    config = folder / "inference.json"
    (folder / "other").touch()
    config.write_text(text.replace("{f}", str(other)).replace("{o}", str(folder / "other")))
    return config, marker


WRITING: dict[str, tuple[Config, str]] = {
    "a table of classes that is begun anew": (
        {"_target_": "SaveClassificationd", "keys": "image", "output_dir": "{d}", "filename": "kept.npy"},
        "_target_ 'SaveClassificationd'",
    ),
    "the same by its dotted name": (
        {"_target_": "monai.transforms.SaveClassificationD", "keys": "s", "output_dir": "{d}", "filename": "kept.npy"},
        "_target_ 'monai.transforms.SaveClassificationD'",
    ),
    "an array that is opened to be written": (
        {"_target_": "Lambdad", "keys": "image", "func": "$lambda i: [@opened('{d}/kept.npy'), i][1]"},
        "opened: the argument mmap_mode = 'w+' of LoadImage",
    ),
}


@pytest.mark.parametrize("case", WRITING)
def test_a_bundle_that_nobody_trusts_deletes_and_overwrites_nothing(case: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept.npy"
    np.save(kept, np.arange(9))
    before = kept.read_bytes()
    step, told = WRITING[case]
    more = {"opened": {"_target_": "LoadImage", "mmap_mode": "w+"}} if "opened" in told else {}
    bundle = a_bundle_with(tmp_path / "models", {"preprocessing": step}, more, tmp_path)
    catalogue = Catalogue(bundle.parent)
    with pytest.raises(ModelRefused, match="or trust") as caught:
        EmbeddedSegmenter(catalogue, threads=1).segment(a_volume(), catalogue.get("tiny"))
    assert caught.value.reason.code == "needs_trust"
    assert any(told in str(found) for found in outside_of_bundle(bundle))
    assert kept.read_bytes() == before


SAVED = {"_target_": "SaveImaged", "keys": "image", "output_dir": "{d}/taken", "output_postfix": "x"}
CALLED = {"_target_": "Lambda", "func": "$lambda d: [@saver(d), d][1]"}


@pytest.mark.parametrize(
    ("steps", "more"),
    [
        pytest.param({"preprocessing": SAVED}, {}, id="a step of the preprocessing"),
        pytest.param({"preprocessing": {**SAVED, "_target_": "monai.transforms.SaveImageD"}}, {}, id="by another name"),
        pytest.param({"postprocessing": CALLED}, {"saver": SAVED}, id="called by a lambda"),
        pytest.param({"preprocessing": "@saver"}, {"saver": SAVED}, id="by reference"),
        pytest.param({"preprocessing": "%saver"}, {"saver": SAVED}, id="by a macro"),
        pytest.param({"preprocessing": "%more.json#saver"}, {}, id="by a macro of another file"),
        pytest.param(
            {"preprocessing": {"_target_": "Lambdad", "keys": "image", "func": "@saver"}},
            {"saver": {"_target_": "SaveImage", "output_dir": "{d}/taken"}},
            id="of arrays",
        ),
    ],
)
def test_a_saver_anywhere_in_a_config_saves_nothing(steps: Config, more: Config, tmp_path: Path) -> None:
    bundle = a_bundle_with(tmp_path / "models", steps, more, tmp_path)
    (bundle / "configs" / "more.json").write_text(json.dumps({"saver": SAVED}).replace("{d}", str(tmp_path)))
    assert outside_of_bundle(bundle) == ()
    plain = a_bundle(tmp_path / "plain" / "tiny", [ARGMAX], 2)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    labels = [
        EmbeddedSegmenter(catalogue, threads=1).segment(a_volume(), catalogue.get("tiny")).labels
        for catalogue in (Catalogue(bundle.parent), Catalogue(plain.parent))
    ]
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "taken").exists()
    assert np.array_equal(*labels)


def a_bundle_with(models: Path, steps: Config, more: Config, folder: Path) -> Path:
    """Our small bundle with one more step at the end of its pre- or postprocessing."""
    bundle = a_bundle(models / "tiny", [ARGMAX], 2)
    path = bundle / "configs" / "inference.json"
    config = {**json.loads(path.read_text()), **more}
    for section, step in steps.items():
        config[section]["transforms"].append(step)
    path.write_text(json.dumps(config).replace("{d}", str(folder)))
    return bundle


def parsed_by_monai(configs: list[str]) -> None:
    """Nothing but MONAI's parser, asked for one section of each config."""
    for path in configs:
        parser = ConfigParser()
        parser.read_config(path)
        with suppress(Exception):
            parser.get_parsed_content("x" if "x" in parser else f"{list(parser.config)[-1]}::x")


def test_monais_parser_runs_every_hostile_config(tmp_path: Path) -> None:
    """Else the test below would refuse what does no harm."""
    made = {case: hostile(case, tmp_path / str(number)) for number, case in enumerate(HOSTILE)}
    configs = [str(config) for config, _ in made.values()]
    # forked: MONAI is imported already, and what the configs do is not done to this process
    process = multiprocessing.get_context("fork").Process(target=parsed_by_monai, args=(configs,))
    process.start()
    process.join(100)
    assert process.exitcode == 0
    harmless = [case for case, (_, marker) in made.items() if not marker.exists()]
    assert harmless == []


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_config_is_refused_and_told_where_it_is(case: str, tmp_path: Path) -> None:
    config, marker = hostile(case, tmp_path / "case")
    assert any(HOSTILE[case][1] in str(found) for found in outside_of(config)), outside_of(config)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("$'{0.__class__}'.format(@a)", "attribute '.format'"),
        ("$[0 for torch.backends.cudnn.enabled in [0]]", "a loop over anything but names"),
        ("$setattr(torch, 'load', 1)", "'setattr'"),
        ("$getattr(torch, 'h' + 'ub')", "name 'getattr'"),
        ("$torch.hub.load('a/b', 'c')", "name 'torch.hub.load'"),
        ("$torch.jit.load('a')", "name 'torch.jit.load'"),
        ("$numpy.load('a', allow_pickle=True)", "argument 'allow_pickle'"),
        ("$numpy.zeros(1).tofile('a')", "attribute '.tofile'"),
        ("$torch.utils.cpp_extension.load(name='a', sources=[])", "name 'torch.utils.cpp_extension.load'"),
        ("$monai.bundle.download('a')", "name 'monai.bundle.download'"),
        ("$monai.apps.download_url('a')", "name 'monai.apps.download_url'"),
        ("$monai.transforms.LoadImage('os.system')", "in an expression"),
        ("$monai.transforms.SaveImage('/a')(@a)", "in an expression"),
        ("$monai.engines.SupervisedEvaluator(@a)", "in an expression"),
        ("$dict(compile=True)", "argument 'compile'"),
        ("$@a.eval('1')", "'.eval' with arguments"),
        ("$dict(**{'reader': 1})", "arguments by '**'"),
        ("$torch", "name 'torch'"),
        ("$pd.read_csv('http://x/?' + str(@a)).t2", "pandas.read_csv"),
        ("$lambda i: pd.read_csv('/a/' + str(i))", "pandas.read_csv"),
        ("$pd.read_pickle('/a')", "name 'pandas.read_pickle'"),
        ("$import subprocess", "an import of 'subprocess'"),
        ("$from torch import os", "an import of 'torch.os'"),
        ("$lambda: (yield)", "the construct Yield"),
        ("$" + "(" * 2000 + ")" * 2000, "no expression of Python"),
        ("$1" + "+1" * 3000, "more than 5000 characters"),
    ],
)
def test_an_expression_outside_the_allow_list_is_refused(expression: str, told: str, tmp_path: Path) -> None:
    config = tmp_path / "inference.json"
    config.write_text(json.dumps({"imports": ["$import pandas as pd"], "a": "b", "x": expression}))
    (found,) = outside_of(config)
    assert found.where == "x"
    assert told in found.what


def test_a_file_of_the_bundle_that_a_macro_reads_is_held_against_the_list(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "inference.json").write_text(json.dumps({"x": "%nets.json#good", "y": "%../other.json#x"}))
    (configs / "nets.json").write_text(json.dumps({"good": {"_target_": "UNet"}}))
    told = [str(found) for found in outside_of(configs / "inference.json")]
    assert told == ["y: the macro '%../other.json#x' reads a file that is not in the bundle"]
    (configs / "nets.json").write_text(json.dumps({"good": {"_target_": "UNet"}, "bad": {"_target_": "os.system"}}))
    told = [str(found) for found in outside_of(configs / "inference.json")]
    assert "configs/nets.json#bad: _target_ 'os.system'" in told
    (configs / "nets.json").write_text(json.dumps({"good": "%far.json#bad"}))
    (configs / "far.json").write_text(json.dumps({"bad": {"_target_": "os.system"}}))
    told = [str(found) for found in outside_of(configs / "inference.json")]
    assert "configs/nets.json#good: the macro '%far.json#bad' of a file in a file" in told


def test_the_metadata_is_held_against_the_list_too(tmp_path: Path) -> None:
    """MONAI's own run has it in its config, where an import statement holds for all expressions."""
    (tmp_path / "inference.json").write_text(json.dumps({"x": "$sorted('touch a')"}))
    (tmp_path / "metadata.json").write_text(json.dumps({"a": "$from os import system as sorted"}))
    (found,) = outside_of(tmp_path / "inference.json")
    assert str(found) == "_meta_#a: an import of 'os.system'"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "\n".join(["l0: &l0 [1, 1]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))]),
        "a: !!python/object/apply:os.system ['touch x']",
        "[" * 1200,
        "- a list",
        "a: \x00",
    ],
)
def test_a_file_that_is_no_config_or_too_much_of_one_is_refused(text: str, tmp_path: Path) -> None:
    config = tmp_path / "inference.yaml"
    config.write_text(text)
    (found,) = outside_of(config)
    assert found.where == "inference.yaml"


def test_our_own_bundle_needs_no_trust() -> None:
    assert outside_of(REPOSITORY / "models" / "ct_lung_lesion" / "configs" / "inference.json") == ()


@pytest.mark.data
def test_the_zoos_bundles_need_no_trust(test_data: Path) -> None:
    configs = sorted((test_data / "bundles").rglob("inference.*"))
    assert {str(path): outside_of(path) for path in configs} == {str(path): () for path in configs}
    assert len(configs) == 7


def test_the_check_needs_neither_monai_nor_torch() -> None:
    program = (
        "import sys; from services.backends.inference.registration import require_allowed\n"
        "assert not {'monai', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPOSITORY, timeout=60)


def test_monais_parser_never_sees_a_config_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = a_bundle(tmp_path / "models" / "tiny", [ARGMAX], 2)
    path = bundle / "configs" / "inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "x": "$open('y', 'w')"}))
    monkeypatch.setattr(runner, "ConfigParser", None)
    catalogue = Catalogue(bundle.parent)
    with pytest.raises(ModelRefused, match=r"x: the name 'open'\. take it out, or trust") as caught:
        EmbeddedSegmenter(catalogue, threads=1).segment(a_volume(), catalogue.get("tiny"))
    assert caught.value.reason.code == "needs_trust"


def test_a_monai_that_unpickles_gets_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As all before 1.6 do: nothing of their reader says that it does not. Triton's Python may have one."""
    bundle = a_bundle(tmp_path / "models" / "tiny", [ARGMAX], 2)
    monkeypatch.setattr(inference_config, "NumpyReader", object)
    monkeypatch.setattr(runner, "ConfigParser", None)
    catalogue = Catalogue(bundle.parent)
    with pytest.raises(ModelRefused, match=r"monai>=1\.6") as caught:
        EmbeddedSegmenter(catalogue, threads=1).segment(a_volume(), catalogue.get("tiny"))
    assert caught.value.reason.code == "old_monai"


def test_no_monai_that_unpickles_is_in_our_range() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    allowed = {one.name: one.specifier for one in map(Requirement, extras["embedded"])}["monai"]
    assert [version for version in ("1.5.0", "1.5.1", "1.5.2") if version in allowed] == []


def test_the_table_of_monais_classes_is_that_of_the_monai_that_is_installed() -> None:
    """A class that moved, or a second one under the same bare name, is looked at by a person before it is let in."""
    locator = ComponentLocator()
    locator.get_component_module_name("UNet")
    assert locator._components_table is not None
    for module, classes in components.COMPONENTS.items():
        for name in classes:
            found = getattr(import_module(module), name, None)
            assert inspect.isclass(found), f"{module}.{name}"
            assert found.__module__ == module
    for name in components.NAMES:
        others = [one for one in locator._components_table[name] if name not in components.COMPONENTS.get(one, ())]
        assert others == [], f"MONAI knows another {name}"


WRITES = re.compile(
    r"os\.(?:remove|unlink|rename|replace|rmdir|mkdir|system|popen|symlink|link)|unlink|rmtree|shutil|mkdir|makedirs"
    r"|\bopen\(|CuFile|tempfile|[Ss]aver|[Ww]riter|SummaryWriter|FileHandler|urlretrieve|urlopen|urllib|requests"
    r"|download|load_url|torch\.(?:save|hub|compile|jit\.load)|np\.(?:save|memmap)|tofile|dump\(|socket|subprocess"
    r"|load_module|mmap"
)

HARMLESS = {
    "SaveImage": "never made: read_config puts a step that does nothing in its place; no expression may name it",
    "SaveImaged": "the same",
    "PILReader": "PIL.Image.open, which reads",
    "NibabelReader": "with to_gpu a temporary file of its own, to warm up; its files are opened to be read",
    "PydicomReader": "the same",
    "SupervisedEvaluator": "torch.compile, which runs a compiler: its argument `compile` may be False only",
    "SupervisedTrainer": "the same",
}


def test_no_class_of_the_table_writes_deletes_or_fetches() -> None:
    """In its own source or in that of a class of MONAI above it, but for those that a person has looked at."""
    found: dict[str, set[str]] = {}
    for module, classes in components.COMPONENTS.items():
        for name in classes:
            above = getattr(import_module(module), name).__mro__
            for one in (one for one in above if one.__module__.startswith("monai.")):
                told = set(WRITES.findall(code_of(one)))
                if told:
                    found.setdefault(getattr(import_module(module), name).__name__, set()).update(told)
    assert {name: told for name, told in found.items() if name not in HARMLESS} == {}
    assert HARMLESS.keys() - found.keys() == set()


def code_of(one: type) -> str:
    """Its source without comments and docstrings."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.unparse(tree)


def test_what_an_argument_may_not_be_no_class_takes_it_to_be_either() -> None:
    """Such as networks that download weights unless they are told not to."""
    for module, classes in components.COMPONENTS.items():
        for name in classes:
            given = inspect.signature(getattr(import_module(module), name)).parameters
            for argument in given.keys() & names.ARGUMENTS.keys():
                default = given[argument].default
                told = default.__name__ if inspect.isclass(default) else default
                assert told in names.ARGUMENTS[argument] | {"_empty"}, f"{name}({argument}={told})"


def test_no_name_of_the_allow_list_is_a_module() -> None:
    for dotted in (names.FUNCTIONS - components.PATHS) | names.ENUMS:
        first, *rest = dotted.split(".")
        found: object = import_module(first)
        for word in rest:
            found = getattr(found, word)
        assert not isinstance(found, ModuleType), dotted
