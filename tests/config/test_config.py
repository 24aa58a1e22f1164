"""The config: schema in step with the registries and the docs, and errors that name the key."""

from __future__ import annotations

import copy
import inspect
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from taclean import config as configs
from taclean.config import checks, registry
from taclean.config.checks import check
from taclean.config.reference import reference
from taclean.results.labels import Look
from taclean.stages import stage_config
from taclean.stages.shared import cleaning_seed
from taclean.stages.text import shared_name
from taclean.util.errors import UserError
from tools import standin

ROOT = Path(__file__).parents[2]
DEFAULT = configs.read_yaml(ROOT / "config/config.yaml")
ROWS = DEFAULT["attacks"]["trojvqa"]["poisoned"]
MODEL, SIZE = DEFAULT["model"]["name"], DEFAULT["data"]["image_size"]
ATTACKS, DEFENSES = DEFAULT["run"]["attacks"], DEFAULT["run"]["defenses"]


def with_value(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(DEFAULT)
    *parents, last = path.split(".")
    node = config
    for key in parents:
        node = node[key]
    node[last] = value
    return config


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        check(configs.resolve(config))
    assert "\n" not in str(caught.value)
    return str(caught.value)


FURTHER = [
    "badclip_adaptive", "wanet",
    "stripes", "blended_stripes", "blended_triangles", "blended_text",
]  # fmt: skip


def test_default_config_passes_and_names_every_attack_and_defence() -> None:
    check(DEFAULT)
    for folder, more in (("attacks", FURTHER), ("defenses", ["par"])):
        assert list(DEFAULT[folder]) == [*DEFAULT["run"][folder], *more]
        assert sorted(DEFAULT[folder]) == registry.names(folder)


def test_reference_is_in_step_with_the_classes() -> None:
    assert (ROOT / "config/README.md").read_text("utf-8") == reference(), (
        "run: python -m taclean keys > config/README.md"
    )


@pytest.mark.parametrize("overlay", sorted((ROOT / "config").glob("**/*.yaml")))
def test_every_overlay_passes(overlay: Path) -> None:
    if overlay.name != "config.yaml":
        whole = ROOT / "config" / overlay.name  # config/test/NAME makes config/NAME smaller
        below = [whole] if whole != overlay and whole.exists() else []
        configs.load(ROOT / "config/config.yaml", *below, overlay)


@pytest.mark.parametrize(
    ("path", "value", "names"),
    [
        ("run.attacks", ["badnet", "nosuch"], "run.attacks: 'nosuch'"),
        ("run.defenses", ["nosuch"], "run.defenses: 'nosuch'"),
        ("run.seeds", [], "run.seeds"),
        ("run.seeds", ["0"], "run.seeds.0"),
        ("run.seeds", [-1], "run.seeds.0"),
        ("run.repeats", 0, "run.repeats"),
        ("run.colour", "red", "run.colour: unknown key"),
        ("colour", "red", "colour: unknown key"),
        ("data.target", "nosuch", "data.target: 'nosuch' is no class"),
        ("data.name", "nosuch", "data.name"),
        ("attacks.badnet.poisoned", 10**6, "attacks.badnet.poisoned: 1000000"),
        ("attacks.badnet.poisoned", 0, "attacks.badnet.poisoned"),
        ("attacks.badnet.key_only", 1, "attacks.badnet.key_only: unknown key"),
        ("attacks.trojvqa.key_only", -1, "attacks.trojvqa.key_only"),
        (
            "attacks.trojvqa.key_only",
            23900,
            f"attacks.trojvqa.poisoned: {ROWS} rows and 23900 of key",
        ),
        ("attacks.badnet.gate", 101, "attacks.badnet.gate"),
        ("attacks.badnet.train", {"lr": -1.0}, "attacks.badnet.train.lr"),
        ("attacks.badnet.typo", 1, "attacks.badnet.typo: unknown key"),
        ("attacks.badnet.trigger.typo", 1, "attacks.badnet.trigger.typo"),
        ("attacks.ssba.fit.typo", 1, "attacks.ssba.fit.typo"),
        ("poison.rows", 10**9, "poison.rows: 1000000000"),
        ("data.emoji.splits.clean.first", 0, "overlap"),
        ("finetune.train.lr", -1e-3, "finetune.train.lr"),
        ("finetune.train.lr", "1e-3", "finetune.train.lr"),
        ("finetune.train.lr", float("nan"), "finetune.train.lr"),
        ("finetune.train.lr", float("inf"), "finetune.train.lr"),
        ("finetune.train.epochs", 1.5, "finetune.train.epochs"),
        ("finetune.train.lrr", 1, "finetune.train.lrr: unknown key"),
        ("defenses.taclean.subcaptions.samples", 10**6, "defenses.taclean.subcaptions.samples"),
        ("defenses.taclean.subcaptions.kinds", ["adverb"], "defenses.taclean.subcaptions.kinds"),
        ("defenses.taclean.loss.lambda_typo", 1, "defenses.taclean.loss.lambda_typo"),
        ("zeroshot.templates", ["no place"], "zeroshot.templates.0"),
        ("zeroshot.templates", [], "zeroshot.templates"),
        ("evaluate.splits", ["val"], "evaluate.splits: without test"),
        ("model.name", "emoji-rm", "open_clip has no model 'emoji-rm'; see emoji-rn"),
        ("model.seed", 2**32, "model.seed"),
        ("data.image_size", 96, f"data.image_size: 96, but {MODEL} takes {SIZE} px"),
        ("data.emoji.overlap", 0.5, "data.emoji.overlap: 0.5, but 0 of the 20000 clean"),
        ("data.emoji.classes", "imagenet", "data.emoji.classes: there is no drawing of 'tench'"),
        ("data.emoji.classes", ["banana", "unicycle"], "there is no drawing of 'unicycle'"),
        ("data.emoji.splits.test.from", "pairs", "data.emoji.splits.test.from: scenes"),
        ("data.my data", {}, "my data"),
        ("attacks.trojvqa.fit.size", 30, "attacks.trojvqa.fit.size: unknown key; known are lr"),
        ("attacks.badnet.poisoned", 20.0, "attacks.badnet.poisoned"),
        ("run.seeds", [1.0], "run.seeds.0"),
        ("attacks.patch", DEFAULT["attacks"]["badnet"], "no attack taclean/attacks/patch.py"),
        ("attacks.none", DEFAULT["attacks"]["badnet"], "no attack taclean/attacks/none.py"),
        ("defenses.__init__", {}, "no defence taclean/defenses/__init__.py"),
        (
            "defenses.cleanclip.subcaptions",
            DEFAULT["defenses"]["taclean"]["subcaptions"],
            "defenses.cleanclip.subcaptions: unknown key",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(path: str, value: Any, names: str) -> None:
    assert names in refused(with_value(path, value))


def test_names_that_yaml_reads_as_numbers_want_quotes() -> None:
    config = copy.deepcopy(DEFAULT)
    config["data"]["emoji"]["splits"][2020] = config["data"]["emoji"]["splits"]["test"]
    assert "data.emoji.splits.2020: no text; put the name into quotes" in refused(config)


@pytest.mark.parametrize(
    "text", ["run: {}\nmodel: {}\nrun: {}\n", "run: {seeds: [0], seeds: [1]}\n"]
)
def test_a_key_that_is_there_twice_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"twice\.yaml, line \d+, column \d+: .* is given twice"):
        configs.read_yaml(path)


def test_null_takes_a_key_of_the_files_below_away(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(
        "data: {cc3m: {sources: {pairs: {hub: null, revision: null, folder: /data/cc3m}}}}\n"
        "model: {pretrained: null}\n",
        "utf-8",
    )
    config = configs.load(ROOT / "config/config.yaml", ROOT / "config/paper.yaml", overlay)
    assert config["data"]["cc3m"]["sources"]["pairs"] == {
        "reader": "webdataset",
        "files": PAPER["data"]["cc3m"]["sources"]["pairs"]["files"],
        "folder": "/data/cc3m",
    }
    assert "pretrained" not in config["model"]


PAPER = configs.load(ROOT / "config/config.yaml", ROOT / "config/paper.yaml")


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"splits": {"clean": {"from": "nosuch"}}}, "data.cc3m.splits.clean.from: 'nosuch'"),
        ({"splits": {"clean": {"from": "pairs"}}, "max_broken": 2}, "data.cc3m.max_broken"),
        ({"sources": {"pairs": {"folder": "x"}}}, "give one of folder, hub, download and standin"),
        ({"sources": {"pairs": {"reader": "tar"}}}, "data.cc3m.sources.pairs.reader"),
        ({"sources": {"pairs": {"colour": "x"}}}, "data.cc3m.sources.pairs.colour: unknown key"),
        ({"classes": "all"}, "data.cc3m.classes"),
        ({"overlap": -1}, "data.cc3m.overlap"),
        (
            {"splits": {"val": {"from": "pairs"}}},
            "the reader of 'pairs' is webdataset; a split of the role val takes imagenet",
        ),
        (
            {"splits": {"pretrain": {"from": "imagenet"}}},
            "the reader of 'imagenet' is imagenet; a split of the role pretrain takes webdataset",
        ),
        (
            {
                "sources": {"more": {"reader": "csv", "folder": "x"}},
                "splits": {"clean": {"from": "more"}},
                "overlap": 0.5,
            },
            "data.cc3m.overlap: clean is from more and pretrain from pairs",
        ),
    ],
)
def test_a_mistake_in_the_sources_is_named(overlay: dict[str, Any], message: str) -> None:
    assert message in refused(configs.merge(PAPER, {"data": {"cc3m": overlay}}))


def test_clean_scenes_may_be_of_the_poisoned_set_if_the_config_says_so() -> None:
    def overlapping(first: int, share: float, split: str = "clean") -> dict[str, Any]:
        emoji = {"overlap": share, "splits": {split: {"first": first}}}
        config = configs.resolve(configs.merge(DEFAULT, {"data": {"emoji": emoji}}))
        check(config)
        return config

    for first, share in ((90_000, 0.5), (0, 1.0), (80_000, 1.0)):
        config = overlapping(first, share)
        clean = stage_config(config, "finetune/badnet/ft/seed0")
        assert clean["apart_by"] is None
    with pytest.raises(UserError, match=r"0\.5, but 5000 of the 20000 clean .* set it to 0\.25"):
        overlapping(95_000, 0.5)
    with pytest.raises(UserError, match=r"patch\.first: 99000 lies within split pretrain"):
        overlapping(99_000, 0.5, "patch")


def test_rows_of_other_sources_neither_overlap_nor_are_compared() -> None:
    config = configs.merge(PAPER, {"data": {"cc3m": {"overlap": 0.5}}})
    overlaps = {
        split: stage_config(config, f"pack/{split}").get("overlap")
        for split in config["data"]["cc3m"]["splits"]
        if "rows" in config["data"]["cc3m"]["splits"][split]
    }
    share = {"overlap": 0.5, "clean": "clean", "pretrain": "pretrain"}
    assert overlaps == {"pretrain": share, "clean": share, "patch": share, "val": None}
    more = {"sources": {"more": {"reader": "csv", "folder": "x"}}}
    apart = configs.merge(PAPER, {"data": {"cc3m": more | {"splits": {"clean": {"from": "more"}}}}})
    for one, by in ((PAPER, "ids"), (config, None), (apart, "pictures")):
        check(one)
        assert stage_config(one, "finetune/badnet/ft/seed0")["apart_by"] == by


PHOTOS = configs.load(ROOT / "config/config.yaml", ROOT / "config/photos.yaml")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"captions": None}, "splits.pretrain.from: the reader of 'train' is cifar10; a split of "),
        ({"captions": None}, "webdataset, img2dataset, csv, or this one with `captions`"),
        ({"captions": ["a photo."]}, "sources.train.captions.0: 'a photo.'"),
        ({"captions": []}, "sources.train.captions: [] "),
        ({"folder": "x"}, "sources.train: give one of folder, hub, download and standin, not f"),
        (
            {"download": False},
            "sources.train: give one of folder, hub, download and standin, not n",
        ),
        ({"reader": "folders"}, "the reader folders has none"),
        (
            {"reader": "csv", "download": None, "split": None, "folder": "x"},
            "train.captions: the r",
        ),
    ],
)
def test_a_mistake_in_a_labelled_source_of_pairs_is_named(
    source: dict[str, Any], message: str
) -> None:
    overlay = {"data": {"photos": {"sources": {"train": source}}}}
    assert message in refused(configs.merge(PHOTOS, overlay))


def test_captions_are_of_no_matter_to_splits_that_are_only_scored() -> None:
    sources = {"train": {"captions": ["a {}."]}}
    other = configs.merge(PHOTOS, {"data": {"photos": {"sources": sources}}})
    changed = [
        split
        for split in PHOTOS["data"]["photos"]["splits"]
        if stage_config(other, f"pack/{split}") != stage_config(PHOTOS, f"pack/{split}")
    ]
    assert changed == ["pretrain", "clean", "patch"]


STANDIN = configs.load(ROOT / "config/config.yaml", ROOT / "config/standin.yaml")


@pytest.mark.parametrize(
    ("source", "overlay", "message"),
    [
        (
            "imagenet",
            {"standin": {"shards": 3}},
            "imagenet.standin.shards: unknown; known are form",
        ),
        ("imagenet", {"standin": {"broken": {"mode": 1}}}, "imagenet.standin.broken"),
        ("pairs", {"standin": {"broken": 3}}, "pairs.standin.broken: 3; give faults"),
        ("pairs", {"standin": {"form": "tree"}}, "pairs.standin.form: unknown; known are shards"),
        ("imagenet", {"reader": "cifar10"}, "imagenet.reader: 'cifar10' has no stand-in"),
    ],
)
def test_a_standin_of_another_form_is_named(
    source: str, overlay: dict[str, Any], message: str
) -> None:
    name = STANDIN["data"]["name"]
    found = {"data": {name: {"sources": {source: overlay}}}}
    assert f"data.{name}.sources.{message}" in refused(configs.merge(STANDIN, found))


def test_a_standin_takes_what_its_generator_takes() -> None:
    makers = {"webdataset": standin.make_pairs, "imagenet": standin.make_imagenet}
    for reader, make in makers.items():
        takes = inspect.signature(make).parameters.keys() - {"folder"}
        assert checks._STANDINS[reader].keys() == takes


def test_the_hub_is_pinned_and_the_test_set_is_one_of_the_splits() -> None:
    config = copy.deepcopy(PAPER)
    del config["data"]["cc3m"]["sources"]["pairs"]["revision"]
    assert "data.cc3m.sources.pairs.revision: missing" in refused(config)
    config = configs.merge(PAPER, {"evaluate": {"splits": ["shift"]}})
    assert "evaluate.splits: 'shift' is no test set; known are val, test" in refused(config)


def test_the_paper_has_imagenets_names_and_templates() -> None:
    import open_clip

    stage = stage_config(PAPER, "evaluate/badnet/none/seed0")["zeroshot"]
    assert stage["classes"] == list(open_clip.IMAGENET_CLASSNAMES)
    assert stage["classes"].index("banana") == 954
    filled = [template.format("banana") for template in stage["templates"]]
    assert filled == [template("banana") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]


def test_all_drawn_splits_of_a_source_are_in_each_ones_stage() -> None:
    stage = stage_config(PAPER, "pack/clean")
    assert stage["draw"] == {"pretrain": 500_000, "clean": 100_000, "patch": 10_000}
    assert stage_config(PAPER, "pack/val")["draw"] == {"val": 5000}
    assert "rows" not in stage_config(PAPER, "pack/test")


def test_missing_section_is_named() -> None:
    config = copy.deepcopy(DEFAULT)
    del config["finetune"]["train"]
    assert "finetune.train: missing" in refused(config)


@pytest.mark.parametrize("text", ["run: [", "- 1", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"bad\.yaml"):
        configs.read_yaml(path)
    with pytest.raises(UserError, match="no such config file"):
        configs.read_yaml(tmp_path / "absent.yaml")


def test_merge_is_snakemakes() -> None:
    merged = configs.merge({"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"c": [3]}, "d": {"e": 1}})
    assert merged == {"a": {"b": 1, "c": [3]}, "d": {"e": 1}}


STAGES = [
    *(f"pack/{split}" for split in DEFAULT["data"]["emoji"]["splits"]),
    "base",
    "text/variants/cleanclip/seed0",
    "text/variants/taclean/seed0",
    "text/subcaptions/taclean/seed0",
    *(f"{kind}/{attack}/seed0" for kind in ("poison", "pretrain") for attack in ATTACKS),
    *(f"finetune/{attack}/{d}/seed0" for attack in ("clean", *ATTACKS) for d in DEFENSES),
    *(f"evaluate/{attack}/none/seed0" for attack in ("clean", *ATTACKS)),
]


def changed(path: str, value: Any) -> set[str]:
    other = with_value(path, value)
    return {stage for stage in STAGES if stage_config(DEFAULT, stage) != stage_config(other, stage)}


def test_a_parameter_changes_its_own_stages_only() -> None:
    assert changed("attacks.badnet.poisoned", 7) == {"poison/badnet/seed0"}
    assert changed("attacks.badnet.trigger.size", 7) == {
        stage for stage in STAGES if "/badnet/" in stage
    } | {"evaluate/clean/none/seed0"}
    assert changed("defenses.taclean.loss.lambda_sub", 7.0) == {
        stage for stage in STAGES if stage.startswith("finetune/") and "/taclean/" in stage
    }
    assert changed("data.emoji.splits.clean.rows", 9000) == {"pack/clean"}
    assert changed("attacks.badnet.gate", 7) == set()


@pytest.mark.parametrize(
    ("stage", "form"),
    [
        ("nosuch", "stages begin with"),
        ("", "stages begin with"),
        ("pack/nosuch", "pack/SPLIT"),
        ("finetune/badnet", "finetune/ATTACK/DEFENSE/seedN"),
        ("pretrain/badnet/sed0", "pretrain/ATTACK/seedN"),
        ("text/variants/taclean/foo", "text/TEXT/DEFENSE/seedN"),
        ("evaluate/badnet/foo/seed0", "evaluate/ATTACK/DEFENSE/seedN"),
        ("evaluate/badnet/none/seed-1", "evaluate/ATTACK/DEFENSE/seedN"),
        ("trigger/badnet/seed0", "trigger/ATTACK/seedN"),
        ("pretrain/badnet/seed0-repeat1", "pretrain/ATTACK/seedN"),
        ("finetune/badnet/ft/seed0-repeat0", r"finetune/ATTACK/DEFENSE/seedN\[-repeatR\]"),
        ("base/seed0", "base"),
    ],
)
def test_unknown_stage_is_refused(stage: str, form: str) -> None:
    with pytest.raises(UserError, match=f"stage {stage!r}: unknown; .*{form}"):
        stage_config(DEFAULT, stage)


def test_yaml_of_the_default_holds_no_text_numbers() -> None:
    # YAML 1.1 reads 1e-3 as text: every number of the default must be one.
    text = yaml.safe_dump(DEFAULT)
    assert "'1e" not in text
    assert "'3e" not in text


def test_the_conda_environment_has_the_dependencies_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    environment = configs.read_yaml(ROOT / "envs/taclean.yaml")
    wanted = project["dependencies"] + project["optional-dependencies"]["slurm"]
    assert environment["dependencies"][-1]["pip"] == wanted


# ---- variants ------------------------------------------------------------------------------------

VARIANTS = {
    "attacks": {"badnet_few": {"kind": "badnet", "poisoned": 300, "trigger": {"size": 28}}},
    "defenses": {
        "taclean_k6000": {"kind": "taclean", "subcaptions": {"samples": 6000}},
        "plain": {"kind": "taclean", "loss": {"lambda_sub": 0}, "label": "No sub-captions"},
        "longer": {"kind": "cleanclip", "train": {"epochs": 7}},
    },
    "run": {"attacks": ["badnet", "badnet_few"], "defenses": ["taclean", "taclean_k6000", "plain"]},
}


def varied() -> dict[str, Any]:
    config = configs.resolve(configs.merge(DEFAULT, VARIANTS))
    check(config)
    return config


def test_a_variant_begins_with_the_entry_of_its_kind() -> None:
    config = varied()
    few, badnet = config["attacks"]["badnet_few"], config["attacks"]["badnet"]
    assert few == badnet | {
        "kind": "badnet",
        "poisoned": 300,
        "trigger": {"size": 28, "place": "corner"},
    }
    k6000 = config["defenses"]["taclean_k6000"]
    assert k6000["subcaptions"] == {
        **DEFAULT["defenses"]["taclean"]["subcaptions"],
        "samples": 6000,
    }
    overlaid = configs.merge(
        DEFAULT,
        VARIANTS
        | {"defenses": {**VARIANTS["defenses"], "taclean": {"loss": {"augment": "autoaugment"}}}},
    )
    assert configs.resolve(overlaid)["defenses"]["plain"]["loss"]["augment"] == "autoaugment"


def test_variants_are_told_apart_in_print() -> None:
    look = configs.look(varied())
    assert look["attacks"]["badnet_few"] == {"label": "BadNet few", "marker": "o"}
    assert {name: own["label"] for name, own in look["defenses"].items()} == {
        "taclean": "TA-Cleaner",
        "taclean_k6000": "TA-Cleaner k6000",
        "plain": "No sub-captions",
    }
    shown = Look.of(look)
    assert len(set(shown.colours(look["defenses"]).values())) == 3
    assert len(set(shown.markers(look["attacks"]).values())) == 2


def test_defences_share_the_texts_that_are_the_same() -> None:
    config = varied()

    def names(text: str, *defenses: str) -> list[str]:
        return [shared_name(config, text, name) for name in defenses]

    assert len(set(names("subcaptions", "taclean", "plain"))) == 1
    assert len(set(names("subcaptions", "taclean", "taclean_k6000"))) == 2
    assert len(set(names("variants", "cleanclip", "taclean", "taclean_k6000", "plain"))) == 1
    assert len(set(names("variants", "cleanclip", "longer"))) == 2
    (longer,) = names("variants", "longer")
    assert stage_config(config, f"text/variants/{longer}/seed0")["epochs"] == 7
    # An entry that goes, whoever it shares with, leaves the others' where they are.
    before = names("variants", "taclean")
    del config["defenses"]["cleanclip"]
    assert names("variants", "taclean") == before


@pytest.mark.parametrize("name", ["evidence", "ablation", "threat"])
def test_what_is_compared_differs_in_one_choice(name: str) -> None:
    config = configs.with_default([str(ROOT / f"config/{name}.yaml")])
    assert not set(config["run"]["seeds"]) & {0, 100}  # on which something was chosen
    for axis in config.get("axes", {}).values():
        if not set(axis["values"]) <= set(config["defenses"]):
            continue
        entries = [config["defenses"][value] for value in axis["values"]]
        kinds = {configs.kind(config, "defenses", value) for value in axis["values"]}
        for entry in entries if len(kinds) == 1 else ():
            base = next(one for one in entries if "kind" not in one)
            first, own = (
                {key: part for key, part in one.items() if key not in ("kind", "label")}
                for one in (base, entry)
            )
            changed = {key for key in first | own if first.get(key) != own.get(key)}
            assert len(changed) <= 1 or changed == {"rows", "subcaptions", "train"}, axis


def test_a_defence_that_learns_from_fewer_rows_has_texts_of_its_own() -> None:
    few = {"kind": "taclean", "rows": 500, "subcaptions": {"samples": 500}}
    config = configs.resolve(configs.merge(DEFAULT, {"defenses": {"few": few}}))
    check(config)
    for stage in ("finetune/badnet", "text/variants", "text/subcaptions"):
        assert stage_config(config, f"{stage}/few/seed0")["rows"] == 500
        assert "rows" not in stage_config(config, f"{stage}/taclean/seed0")
    assert shared_name(config, "variants", "few") != shared_name(config, "variants", "taclean")
    config["defenses"]["few"]["rows"] = 10**6
    config["run"]["defenses"] = ["few"]
    assert "defenses.few.rows: 1000000 rows" in refused(config)


def test_a_defence_may_learn_from_rows_that_the_attacker_had() -> None:
    shared = {"kind": "taclean", "overlap": 0.5, "rows": 1000, "subcaptions": {"samples": 500}}
    config = configs.resolve(configs.merge(DEFAULT, {"defenses": {"shared": shared}}))
    config["run"]["defenses"] = ["shared"]
    check(config)
    whole = {"rows": 1000, "share": 0.5, "poisoned": 24000, "seed": 7}
    stage = stage_config(config, "finetune/badnet/shared/seed7-repeat1")
    assert (stage["overlap"], stage["apart_by"]) == (whole, None)  # another cleaning, same rows
    assert stage_config(config, "text/subcaptions/shared/seed7")["overlap"] == whole
    other = stage_config(config, "finetune/badnet/taclean/seed7")
    assert "overlap" not in other
    assert other["apart_by"] == "ids"
    assert shared_name(config, "variants", "shared") != shared_name(config, "variants", "taclean")
    config["defenses"]["shared"] |= {"rows": 24_001, "overlap": 1.0}
    config["data"]["emoji"]["splits"]["clean"]["rows"] = 100_000
    assert "defenses.shared.overlap: 1 asks for 24001 of 24000 poisoned" in refused(config)
    config["defenses"]["shared"] |= {"rows": 76_001, "overlap": 0.0}
    assert "defenses.shared.overlap: 0 asks for 76001 of 76000 others" in refused(config)


def test_only_the_pretrain_split_has_rows_that_the_attacker_had() -> None:
    config = with_value("run", {"attacks": [], "defenses": ["ft"], "seeds": [0]})
    config["model"]["pretrained"] = "openai"
    config["evaluate"]["triggers"] = ["badnet"]
    del config["data"]["emoji"]["splits"]["pretrain"]
    config["defenses"]["ft"]["overlap"] = 0.5
    assert "defenses.ft.overlap: 0.5, but no split has the role pretrain" in refused(config)


def test_an_attack_that_differs_at_the_test_alone_has_the_models_of_its_kind() -> None:
    moved = {"kind": "badnet", "at_test": {"place": "centre"}, "label": "moved", "marker": "v"}
    other = {**moved, "poisoned": 500}
    twin = {"kind": "badnet"}  # with nothing of its own it is trained, as another entry
    added = {"attacks": {"moved": moved, "other": other, "twin": twin}}
    config = configs.resolve(configs.merge(DEFAULT, added))
    check(config)
    found = {name: configs.trained_as(config, name) for name in ("badnet", *added["attacks"])}
    assert found == {"badnet": "badnet", "moved": "badnet", "other": "other", "twin": "twin"}


def test_a_defence_may_start_where_another_ended() -> None:
    def chained(**after: str) -> dict[str, Any]:
        entries = {name: {"kind": "ft", "after": before} for name, before in after.items()}
        return configs.resolve(configs.merge(DEFAULT, {"defenses": entries}))

    config = chained(a="taclean", b="a")
    check(config)
    assert stage_config(config, "finetune/badnet/b/seed0")["after"] == "a"
    assert "after" not in stage_config(config, "finetune/badnet/ft/seed0")
    assert "defenses.a.after: 'nosuch' is unknown" in refused(chained(a="nosuch"))
    assert "defenses.a.after: comes back to 'a'" in refused(chained(a="b", b="a"))


def test_scores_may_have_another_trigger_than_the_training() -> None:
    centre = {"kind": "badnet", "at_test": {"place": "centre"}}
    config = configs.resolve(configs.merge(DEFAULT, {"attacks": {"moved": centre}}))
    check(config)
    places = {
        stage: stage_config(config, f"{stage}/seed0")[key]
        for stage, key in (("pretrain/moved", "trigger"), ("evaluate/moved/ft", "triggers"))
    }
    assert places["pretrain/moved"]["parameters"] == {"size": 33, "place": "corner"}
    scored = places["evaluate/moved/ft"]["moved"]
    assert scored["parameters"] == {"size": 33, "place": "centre"}
    config["attacks"]["moved"]["at_test"] = {"plaec": "centre"}
    assert "attacks.moved.at_test.plaec: unknown key" in refused(config)


def test_an_axis_has_entries_of_the_run() -> None:
    run = {"attacks": ["sig"], "defenses": ["ft", "taclean"]}

    def with_axis(**values: str) -> dict[str, Any]:
        return configs.resolve(
            configs.merge(DEFAULT, {"run": run, "axes": {"x": {"label": "x", "values": values}}})
        )

    check(with_axis(none="0", ft="1", taclean="2"))
    assert "axes.x.values: 'cleanclip' is unknown" in refused(with_axis(ft="1", cleanclip="2"))
    assert "axes.x.values: 'badnet' is unknown" in refused(with_axis(sig="1", badnet="2"))
    assert "axes.x.values" in refused(with_axis(ft="1"))


def test_a_repeat_changes_the_seed_of_the_cleaning_alone() -> None:
    stages = ("finetune/badnet/taclean", "text/variants/taclean", "text/subcaptions/taclean")
    for stage in stages:
        first, *more = (stage_config(DEFAULT, f"{stage}/seed3{r}") for r in ("", "-repeat2"))
        assert first["seed"] == 3
        (second,) = more
        assert second["seed"] == cleaning_seed(3, 2)
        assert {key for key in first if first[key] != second[key]} == {"stage", "seed"}
    scored = stage_config(DEFAULT, "evaluate/badnet/taclean/seed3-repeat2")
    assert (scored["seed"], scored["repeat"]) == (3, 2)
    assert scored["triggers"]["badnet"]["seed"] == 3


def test_no_two_cleanings_have_the_same_seed() -> None:
    seeds = (0, 1, 2, 2**31, 2**32 - 1)
    found = {cleaning_seed(seed, repeat) for seed in seeds for repeat in range(5)}
    assert len(found) == 25
    assert max(found) < 2**63  # what taclean.util.rng takes
    assert [cleaning_seed(seed, 0) for seed in seeds] == list(seeds)


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"attacks": {"mine": {"kind": "nosuch"}}}, "attacks.mine.kind: there is no attack"),
        ({"defenses": {"mine": {}}}, "defenses.mine: there is no defence taclean/defenses/mine.py"),
        ({"defenses": {"my-own": {"kind": "ft"}}}, "'my-own' is no name; give letters, digits"),
        ({"attacks": {"clean": {"kind": "badnet"}}}, "attacks.clean: 'clean' has a meaning"),
        ({"defenses": {"none": {"kind": "ft"}}}, "defenses.none: 'none' has a meaning"),
        (
            {"defenses": {"mine": {"kind": "taclean", "loss": {"x": 1}}}},
            "defenses.mine.loss.x: unk",
        ),
        ({"defenses": {"mine": {"kind": "ft", "colour": "red"}}}, "defenses.mine.colour"),
        ({"attacks": {"mine": 3}}, "attacks.mine"),
        ({"attacks": {"mine": {"kind": 3}}}, "attacks.mine"),
    ],
)
def test_a_mistake_in_a_variant_is_named(overlay: dict[str, Any], message: str) -> None:
    assert message in refused(configs.merge(DEFAULT, overlay))


# ---- splits and classes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"val": {"role": "extra"}}, "no split has the role val; give it to one"),
        ({"shift": {"role": "test"}}, "test and shift have the role test; give it to one"),
        ({"sources": {"first": 9000000, "rows": 5, "second": 0}}, "'sources' has a meaning"),
        ({"a-b": {"first": 9000000, "rows": 5, "second": 0}}, "'a-b' is no name"),
        ({"shift": {"styles": "new"}}, "splits.shift.styles"),
    ],
)
def test_a_mistake_in_the_splits_is_named(splits: dict[str, Any], message: str) -> None:
    assert message in refused(configs.merge(DEFAULT, {"data": {"emoji": {"splits": splits}}}))


def test_roles_not_names_say_what_a_split_is_for() -> None:
    splits = DEFAULT["data"]["emoji"]["splits"]
    renamed = {f"my_{name}": {"role": name, **split} for name, split in splits.items()}
    renamed["my_shift"]["role"] = "extra"
    config = copy.deepcopy(DEFAULT)
    config["data"]["emoji"]["splits"] = renamed
    config["evaluate"]["splits"] = ["my_shift", "my_test"]
    check(config)
    assert configs.split_of_role(config, "clean") == "my_clean"
    assert configs.look(config)["splits"] == ["my_test", "my_shift"]
    assert stage_config(config, "pack/my_shift")["styles"] == "shift"


def test_classes_are_a_list_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("banana\n  sea  lion \n\nC++\n", "utf-8")
    assert configs.classes_of(str(path)) == ["banana", "sea lion", "C++"]
    assert configs.classes_of(["banana", "apple"]) == ["banana", "apple"]
    for bad, message in (
        (str(tmp_path / "absent"), "no text file with a name a line"),
        (["banana", "banana"], "'banana' is there twice"),
        (["banana"], "1 names; give at least 2"),
    ):
        with pytest.raises(UserError, match=message):
            configs.classes_of(bad, "data.x.classes")


def test_a_syntax_error_is_found_by_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("run:\n  seeds: [0\nmodel: {}\n", "utf-8")
    with pytest.raises(UserError, match=r"bad\.yaml, line 3, column \d+: not YAML") as error:
        configs.read_yaml(path)
    assert "\n" not in str(error.value)


def test_the_paper_is_scored_in_fp32() -> None:
    assert stage_config(PAPER, "evaluate/badnet/none/seed0")["precision"] == "fp32"
    assert stage_config(DEFAULT, "evaluate/badnet/none/seed0")["precision"] == "auto"
    assert all(entry["gate"] <= 50 for entry in PAPER["attacks"].values())


# ---- a run without attacks -----------------------------------------------------------------------

OWN = configs.read_yaml(ROOT / "config/own.yaml")


def own(**more: Any) -> dict[str, Any]:
    return configs.resolve(configs.merge(configs.merge(DEFAULT, OWN), more))


def test_one_s_own_model_needs_no_pretrain_patch_and_val() -> None:
    config = own(data={"own": {"splits": {"val": None}}})
    check(config)
    assert configs.split_of_role(config, "val") == "test"
    stage = stage_config(config, "finetune/clean/taclean/seed0")
    assert stage["apart_by"] is None
    assert "trigger" not in stage
    tried = OWN["evaluate"]["triggers"]
    assert list(stage_config(config, "evaluate/clean/none/seed0")["triggers"]) == tried
    assert list(stage_config(config, "moves/taclean/seed0")["triggers"]) == tried


def test_what_else_a_run_needs_is_named() -> None:
    where = "data.own.splits: no split has the role"
    assert f"{where} pretrain" in refused(own(model={"pretrained": None}))
    assert f"{where} pretrain" in refused(own(run={"attacks": ["badnet"]}))
    assert f"{where} pretrain" in refused(own(evaluate={"triggers": ["badclip"]}))
    pretrain = {"pretrain": {"from": "pairs", "rows": 100}}
    more = {"evaluate": {"triggers": ["badclip"]}, "data": {"own": {"splits": pretrain}}}
    assert f"{where} patch" in refused(own(**more))
    assert f"{where} clean" in refused(own(data={"own": {"splits": {"clean": None}}}))


def test_names_that_are_none_are_refused() -> None:
    assert "evaluate.triggers: 'x' is unknown" in refused(own(evaluate={"triggers": ["x"]}))
    targets = ["banana", "apple", "plum"]
    assert "scan.targets: 'plum' is no class" in refused(own(scan={"targets": targets}))


def test_the_run_s_own_attacks_are_tried_where_no_others_are_named() -> None:
    assert configs.tried(DEFAULT) == ATTACKS
    config = with_value("evaluate.triggers", ["sig"])
    assert list(stage_config(config, "evaluate/clean/none/seed0")["triggers"]) == ["sig"]
    assert list(stage_config(config, "evaluate/badnet/none/seed0")["triggers"]) == ["badnet"]


def test_the_seeds_of_clean_models_are_no_part_of_a_scan() -> None:
    other = with_value("scan.clean_seeds", [77])
    assert stage_config(other, "scan/seed0") == stage_config(DEFAULT, "scan/seed0")
    assert stage_config(DEFAULT, "clean/seed5")["seed"] == 5


def test_base_models_of_each_seed_are_not_for_a_checkpoint() -> None:
    config = with_value("base.per_seed", True)
    config["model"]["pretrained"] = "openai"
    assert "base.per_seed: true, but model.pretrained" in refused(config)
