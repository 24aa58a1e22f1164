"""The registry: a file is a method, in whatever way it is written; its name stands nowhere else."""

import ast
import re
import sys
from pathlib import Path

import pytest
import torch

from taclean import config as configs
from taclean.attacks import Attack, attack, make_trigger
from taclean.config import registry
from taclean.defenses import Defense, defense, make_defense
from taclean.util.errors import UserError
from tests.helpers import ROOT, run

DEFAULT = configs.read(configs.DEFAULT)
BAD = configs.read_yaml(Path(__file__).with_name("bad_files.yaml"))
NAMES = [name for folder in registry.BASES for name in registry.names(folder)]


def strings(path: Path) -> set[str]:
    """All string constants of a file of Python but for its docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = (node for node in ast.walk(tree) if isinstance(node, kinds) and node.body)
    told = {id(node.body[0].value) for node in documented if isinstance(node.body[0], ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told
    }


def test_no_method_is_named_outside_its_file() -> None:
    for folder in ("taclean", "workflow_scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            own = path.stem if path.parent.name in registry.BASES else ""
            # "taclean" is also the name of the package and of its command.
            found = (strings(path) & set(NAMES)) - {own, "taclean"}
            assert not found, (path, found)
    for path in [*(ROOT / "rules").rglob("*.smk"), ROOT / "Snakefile"]:
        assert not re.findall(rf"['\"]({'|'.join(NAMES)})['\"]", path.read_text("utf-8")), path


HEAVY = "open_clip torchvision timm pandas scipy nltk matplotlib sklearn transformers".split()
MODELS = "import taclean.training.loop, taclean.evaluation.evaluate, taclean.attacks.material"
RESULTS = "from taclean.results import labels, table, main_table, verdict"
FIGURES = [path.stem for path in (ROOT / "taclean/report/figures").glob("[a-z]*.py")]


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import taclean.cli; taclean.cli._parser().format_help()", ["torch", *HEAVY]),
        ("from taclean import config; config.load(config.DEFAULT)", HEAVY),
        (MODELS, ["pandas", "nltk", "scipy", "sklearn", "matplotlib"]),
        (RESULTS, ["torch", "matplotlib"]),
        ("import taclean.report.figures", ["torch", "matplotlib", "pandas"]),
        (f"from taclean.report.figures import {', '.join(FIGURES)}", ["torch"]),
        ("import taclean.captions.artifacts", ["torch"]),
    ],
    ids=["commands", "config", "models", "results", "list of figures", "figures", "texts"],
)
def test_a_start_imports_no_more_than_it_needs(code: str, without: list[str]) -> None:
    code = f"import sys; {code}; print(*sys.modules)"
    assert not set(without) & set(run(sys.executable, "-c", code).stdout.split())


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Write a file as if into a folder of the package, and take it away after the test."""
    written: list[Path] = []

    def new(folder: str, name: str, code: str) -> None:
        path = tmp_path / folder / f"{name}.py"
        path.parent.mkdir()
        package = sys.modules[f"taclean.{folder}"]
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
        path.write_text("from __future__ import annotations\n" + code, "utf-8")
        written.append(path)
        registry.load.cache_clear()
        registry.entry.cache_clear()

    yield new
    for path in written:
        sys.modules.pop(f"taclean.{path.parent.name}.{path.stem}", None)
    registry.load.cache_clear()
    registry.entry.cache_clear()


HEAD = "from taclean.defenses import Defense\nfrom taclean.config.section import key\n"
INHERITS = """
from taclean.defenses.cleanclip import CleanCLIP
from taclean.config.section import key

class Gentle(CleanCLIP):
    lambda_self: float = key(0.25, "A smaller weight.", ge=0)
"""
PLAIN = f"""{HEAD}
class Nothing(Defense):
    texts = {{}}
    weight: float = 3
    def loss(self, model, batch):
        return {{"total": super().loss(model, batch)["total"] * self.weight}}
"""


def test_a_defence_that_inherits_is_one(write) -> None:
    write("defenses", "zz_gentle", INHERITS)
    entry = registry.entry("defenses", "zz_gentle").of({})
    assert entry.method.name_in_print() == "Gentle"  # not that of the class it derives from
    assert [*entry.method.texts] == ["variants"]
    assert entry.loss.model_dump() == {"lambda_self": 0.25, "augment": "mild", "modality": "both"}
    assert defense("zz_gentle").__module__ == "taclean.defenses.zz_gentle"


def test_a_plain_class_with_annotated_parameters_is_one(write) -> None:
    write("defenses", "zz_plain", PLAIN)
    assert make_defense("zz_plain", weight=2).weight == 2
    with pytest.raises(UserError, match=r"defenses\.zz_plain\.loss\.weight: .a. is text"):
        make_defense("zz_plain", weight="a")
    assert registry.entry("defenses", "zz_plain").of({"loss": {"weight": 4}}).loss.weight == 4


@pytest.mark.parametrize(("code", "message"), BAD.values(), ids=BAD)
def test_a_file_that_is_no_defence_is_named_in_one_line(write, code: str, message: str) -> None:
    write("defenses", "zz_bad", HEAD + code)
    with pytest.raises(UserError, match=f"^defenses.zz_bad(: .*|[.]){message}"):
        configs.check(configs.resolve(configs.merge(DEFAULT, {"defenses": {"zz_bad": {}}})))
    configs.check(DEFAULT)  # other files are as they were


ATTACK = """
from taclean.attacks import Attack

class Grey(Attack):
    def trigger(self, images, ids, seed, fitted):
        images += 255
        return WHAT
"""


@pytest.mark.parametrize(("what", "says"), [
    ("images.mean(1, keepdim=True)", r"turns .*\(2, 1, 8, 8\)"), ("None", "into NoneType"),
    ("images", r"between 255 and 255; return \[0, 1\]"), ("0 * images / 0", "between nan and nan"),
])  # fmt: skip
def test_a_trigger_that_changes_the_form_of_pictures_is_named(write, what: str, says: str) -> None:
    write("attacks", "zz_grey", ATTACK.replace("WHAT", what))
    for given in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8).byte()):
        with pytest.raises(UserError, match=f"attack Grey: its trigger .*{says}"):
            make_trigger("zz_grey")(given, [0, 1])
        assert not given.any()  # a change in place is one of a copy


def test_helpers_are_no_methods() -> None:
    assert not {"patch", "optimise", "material"} & set(registry.names("attacks"))
    for call, name in (
        (attack, "patch"), (attack, "none"), (make_trigger, "badnets"), (defense, "nosuch"),
        (make_defense, "nosuch"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"{name}.*use one of"):
            call(name)
    assert all(issubclass(attack(name), Attack) for name in registry.names("attacks"))
    assert all(issubclass(defense(name), Defense) for name in registry.names("defenses"))
