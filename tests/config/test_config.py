"""The config: schema in step with the registries and the docs, and errors that name the key."""

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from taclean import config as configs
from taclean.config import Config, checks, registry
from taclean.data.labels import class_names
from taclean.results.labels import Look, look_of
from taclean.runs import Runs
from taclean.stages import stage_config
from taclean.stages.shared import cleaning_seed
from taclean.stages.text import shared_name
from taclean.util.errors import UserError
from tests.helpers import ROOT, refused, run

DEFAULT = configs.read_yaml(ROOT / "config/config.yaml")
ATTACKS, DEFENSES = DEFAULT["run"]["attacks"], DEFAULT["run"]["defenses"]


def with_value(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return configs.merge(DEFAULT, value)


def checked(config: dict[str, Any], *overlays: dict[str, Any]) -> Config:
    for overlay in overlays:
        config = configs.merge(config, overlay)
    return configs.check(configs.resolve(config))


def stage(config: Config | dict[str, Any], path: str) -> dict[str, Any]:
    return stage_config(config if isinstance(config, Config) else checked(config), path)


FURTHER = "badclip_adaptive wanet stripes blended_stripes blended_triangles blended_text".split()


def test_default_config_passes_and_names_every_attack_and_defence() -> None:
    checked(DEFAULT)
    further = "par ft_sam wise_ft linear_probe abd invertune roclip safeclip".split()
    for folder, more in (("attacks", FURTHER), ("defenses", further)):
        assert list(DEFAULT[folder]) == [*DEFAULT["run"][folder], *more]
        assert sorted(DEFAULT[folder]) == registry.names(folder)
    assert sorted(DEFAULT["detectors"]) == registry.names("detectors")


@pytest.mark.parametrize(("file", "options"), [("README.md", []), ("schema.json", ["--schema"])])
def test_reference_is_in_step_with_the_classes(file: str, options: list[str]) -> None:
    call = ["python", "-m", "tools.config_reference", *options]
    text = (ROOT / "config" / file).read_text("utf-8")
    assert text == run(*call).stdout, f"run: {' '.join(call)} > config/{file}"


ON_PAPER = ("paper-vit.yaml", "public.yaml")


@pytest.mark.parametrize("overlay", sorted((ROOT / "config").glob("**/*.yaml")))
def test_every_overlay_passes(overlay: Path) -> None:
    if overlay.name != "config.yaml":
        whole = ROOT / "config" / overlay.name  # config/test/NAME makes config/NAME smaller
        below = [whole] if whole != overlay and whole.exists() else []
        below = [ROOT / "config/paper.yaml"] if overlay.name in ON_PAPER else below
        configs.load(ROOT / "config/config.yaml", *below, overlay)


PAPER, PUBLIC, PHOTOS, OWN = (
    configs.read(*(ROOT / f"config/{name}.yaml" for name in ("config", *more)))
    for more in (["paper"], ["paper", "public"], ["photos"], ["own"])
)
BASES = {"default": DEFAULT, "paper": PAPER, "public": PUBLIC, "photos": PHOTOS, "own": OWN}
TUNE = {"attacks": ["badnet"], "seeds": [100], "within": 3, "trials": {"ft": [{}]}}
BASES["tuned"] = configs.merge(DEFAULT, {"tune": TUNE})
MISTAKES = configs.read_yaml(Path(__file__).with_name("mistakes.yaml"))


@pytest.mark.parametrize(
    ("base", "mistake"), [(base, mistake) for base in BASES for mistake in MISTAKES[base]]
)
def test_a_mistake_is_named_in_one_line(base: str, mistake: dict[str, Any]) -> None:
    refused(lambda: Runs(checked(BASES[base], mistake["config"])), mistake["says"])


def test_val_of_another_source_may_share_no_picture_with_test_where_it_chooses_rates() -> None:
    paper, rates = configs.read_yaml(ROOT / "config/paper.yaml"), {"run": {"rates": [1e-6, 1e-5]}}
    source = {"other": {"reader": "imagenet", "folder": "other"}}
    other = {"data": {"cc3m": {"sources": source, "splits": {"val": {"from": "other"}}}}}
    for more, probed in (([rates], None), ([other], None), ([rates, other], "val")):
        assert checked(DEFAULT, paper, *more).probed == probed


def test_a_resnet_that_loses_the_edges_is_named(tmp_path, monkeypatch) -> None:
    for name, layers in (("edge", [1, 1, 1, 1]), ("vit", 4)):
        form = {"vision_cfg": {"image_size": 48, "layers": layers}}
        (tmp_path / f"{name}.json").write_text(json.dumps(form))
    files = {path.stem: path for path in tmp_path.glob("*.json")}
    for module in (configs, checks):
        monkeypatch.setattr(module, "model_files", lambda: files)
    (note,) = configs.notes(checked(DEFAULT, {"model": {"name": "edge"}}))
    assert "loses the right and the lower edge; choose a multiple of 32 px" in note
    assert configs.notes(checked(DEFAULT, {"model": {"name": "vit"}})) == []


def test_a_key_that_no_defence_of_the_run_takes_is_named() -> None:
    """Unless the default has it: rates and the settings of a tuning replace that."""
    own = {"run": {"defenses": ["ft"]}, "defenses": {"ft": {"train": {"lr": 0.1}}}}
    assert configs.notes(checked(DEFAULT, own)) == []
    for more in (own, {"run": {"rates": [0.1]}}):
        changed = checked(DEFAULT, more, {"finetune": {"train": {"lr": 0.2, "epochs": 3}}})
        (note,) = configs.notes(changed)
        assert note.startswith("note: finetune.train.lr: no defence of the run")
    assert configs.notes(checked(DEFAULT, {"finetune": {"train": {"lr": 0.2}}})) == []
    (note,) = configs.notes(checked(DEFAULT, {"poison": {"train": {"threads": 250}}}))
    assert note.startswith("note: poison.train.threads: 250, but this machine has ")
    (note,) = configs.notes(checked(DEFAULT, {"defenses": {"abd": {"kind": "cleanclip"}}}))
    assert note.startswith("note: defenses.abd: has the keys of taclean's own abd, too; rename it")


def test_a_victim_from_scratch_is_trained_as_the_base_model_is() -> None:
    config = with_value("attacks.badnet.scratch", True)
    plain, own = (stage(whole, "pretrain/badnet/seed3") for whole in (DEFAULT, config))
    assert own["train"] == stage(DEFAULT, "base")["train"] != plain["train"]
    assert stage(config, "poison/badnet/seed3")["rows"] == own["rows"] == 50_000
    config = configs.merge(config, {"run": {"attacks": ["badnet"], "defenses": ["roclip"]}})
    defended = stage(config, "finetune/badnet/roclip/seed3")
    assert all(defended[name] == own[name] for name in ("seed", "train", "rows", "trigger"))


def test_null_takes_a_key_of_the_files_below_away(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(
        "data: {cc3m: {sources: {pairs: {hub: null, revision: null, folder: /data/cc3m}}}}\n"
        "model: {pretrained: null}\n"
    )
    config = configs.read(ROOT / "config/config.yaml", ROOT / "config/paper.yaml", overlay)
    source, former = (value["data"]["cc3m"]["sources"]["pairs"] for value in (config, PAPER))
    kept = {key: former[key] for key in ("reader", "files")}
    assert source == kept | {"folder": "/data/cc3m"}
    assert "pretrained" not in config["model"]


def test_a_split_may_cover_a_share_of_the_classes() -> None:
    part = {"cover": 0.5, "styles": ["twemoji", "fxemoji"]}
    with_part = {"data": {"emoji": {"splits": {"clean": part}}}}
    before, after = (stage(checked(DEFAULT, more), "pack/clean") for more in ({}, with_part))
    assert {key: after[key] for key in after if after[key] != before.get(key)} == part
    photos = checked(PHOTOS, {"data": {"photos": {"splits": {"clean": {"cover": 0.5}}}}})
    for split in ("pretrain", "clean"):
        assert stage(photos, f"pack/{split}")["limits"]["clean"] == {"cover": 0.5}


def test_each_rate_of_a_run_is_an_entry_of_each_defence() -> None:
    run = {"defenses": ["taclean", "again"], "rates": [1.0e-4, 2.0e-4]}
    defenses = {"again": {"kind": "ft", "after": "cleanclip"}}
    config = checked(DEFAULT, {"run": run, "defenses": defenses})
    assert config.rates == {"taclean_rate1": ("taclean", 1e-4), "taclean_rate2": ("taclean", 2e-4)}
    assert config.entries_of("again") == ["again"]
    taken = {"run": run, "defenses": {**defenses, "taclean_rate2": {"kind": "ft"}}}
    refused(lambda: checked(DEFAULT, taken), "also the name of a trial of tune or a rate of run")
    assert config.entries_of("taclean") == [*config.rates]
    names = ("taclean", "taclean_rate2")
    own, at = (stage(config, f"finetune/badnet/{name}/seed0") for name in names)
    assert at["train"].pop("lr") == 2e-4
    own["train"].pop("lr")
    assert {key for key in own if own[key] != at[key]} == {"stage"}


def test_a_defence_may_start_where_another_ended_and_learn_from_another_split() -> None:
    further = {"first": 9000000, "rows": 640, "second": 0, "without": "banana"}
    entry = {"kind": "ft", "after": "first", "split": "further", "rows": 600}
    splits = {"data": {"emoji": {"splits": {"further": further}}}}
    entries = {"first": {"kind": "ft", "after": "taclean"}, "rebound": entry}
    config = checked(DEFAULT, splits, {"defenses": entries})
    found = stage(config, "finetune/badnet/rebound/seed0")
    assert (found["split"], found["rows"], found["after"]) == ("further", 600, "first")
    assert stage(config, "pack/further")["without"] == "banana"


def test_captions_are_of_no_matter_to_splits_that_are_only_scored() -> None:
    sources = {"train": {"captions": ["a {}."]}}
    other = configs.merge(PHOTOS, {"data": {"photos": {"sources": sources}}})
    changed = [
        split
        for split in PHOTOS["data"]["photos"]["splits"]
        if stage(other, f"pack/{split}") != stage(PHOTOS, f"pack/{split}")
    ]
    assert changed == ["pretrain", "clean", "patch"]


def test_the_paper_has_imagenets_names_and_templates() -> None:
    import open_clip

    found = stage(PAPER, "evaluate/badnet/none/seed0")["zeroshot"]
    assert found["classes"] == list(open_clip.IMAGENET_CLASSNAMES)
    assert found["classes"].index("banana") == 954
    filled = [template.format("banana") for template in found["templates"]]
    assert filled == [template("banana") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]


def test_all_drawn_splits_of_a_source_are_in_each_ones_stage() -> None:
    found = stage(PAPER, "pack/clean")
    assert found["draw"] == [["pretrain", 500_000], ["clean", 100_000], ["patch", 10_000]]
    assert stage(PAPER, "pack/val")["draw"] == [["val", 5000]]
    assert "rows" not in stage(PAPER, "pack/test")


@pytest.mark.parametrize("mistake", MISTAKES["files"])
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, mistake: dict[str, Any]) -> None:
    path = tmp_path / "bad.yaml"
    if "text" in mistake:
        text = mistake["text"] * mistake.get("times", 1)
        path.write_text(text, mistake.get("encoding", "utf-8"))
    refused(lambda: configs.read_yaml(path), str(path), mistake["says"])


def test_paths_may_begin_at_home_and_json_may_have_halves_of_characters(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    label = {"axes": {"x": {"label": "\ud83d\ude00", "values": {"none": "a", "ft": "b"}}}}
    config = checked(DEFAULT, {"run": {"victims": "~/v.zip"}}, label)
    assert (config.run.victims, config.axes["x"].label) == ("/home/me/v.zip", "\U0001f600")


def test_merge_keys_and_numbers_of_json_are_read(tmp_path: Path) -> None:
    (path := tmp_path / "a.yaml").write_text("x: {y: &a {<<: {k: 1}, k: 2}}\nb: {<<: *a, k: 1e-06}")
    assert configs.read_yaml(path) == {"x": {"y": {"k": 2}}, "b": {"k": 1e-6}}
    path.write_text('{\n\t"a": 1}')
    assert configs.read_yaml(path) == {"a": 1}


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
    before, after = checked(DEFAULT), checked(with_value(path, value))
    return {path for path in STAGES if stage(before, path) != stage(after, path)}


def test_a_parameter_changes_its_own_stages_only() -> None:
    assert changed("attacks.badnet.poisoned", 7) == {"poison/badnet/seed0"}
    assert changed("attacks.badnet.trigger.size", 7) == {
        stage for stage in STAGES if "/badnet/" in stage
    } | {"evaluate/clean/none/seed0"}
    assert changed("defenses.taclean.loss.lambda_sub", 7.0) == {
        stage for stage in STAGES if stage.startswith("finetune/") and "/taclean/" in stage
    }
    assert changed("data.emoji.splits.clean.rows", 21000) == {"pack/clean"}
    assert changed("attacks.badnet.gate", 7) == set()


@pytest.mark.parametrize(("path", "form"), MISTAKES["stages"].items())
def test_unknown_stage_is_refused(path: str, form: str) -> None:
    refused(lambda: stage(DEFAULT, path), f"stage {path!r}: unknown; ", form)


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


def varied() -> Config:
    return checked(DEFAULT, VARIANTS)


def test_a_variant_begins_with_the_entry_of_its_kind() -> None:
    config = varied()
    few, badnet = config.attacks["badnet_few"].given(), config.attacks["badnet"].given()
    assert few == badnet | {"poisoned": 300, "trigger": {"size": 28, "place": "corner"}}
    given = DEFAULT["defenses"]["taclean"]["subcaptions"]
    k6000: Any = config.defenses["taclean_k6000"]
    assert k6000.subcaptions.given() == {**given, "samples": 6000}
    base = {"defenses": {"taclean": {"loss": {"augment": "autoaugment"}}}}
    plain = checked(DEFAULT, VARIANTS, base).defenses["plain"]
    assert (plain.loss.augment, plain.loss.lambda_sub) == ("autoaugment", 0)


def test_variants_are_told_apart_in_print() -> None:
    look = look_of(varied())
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
    assert stage(config, f"text/variants/{longer}/seed0")["epochs"] == 7
    # An entry that goes, whoever it shares with, leaves the others' where they are.
    before = names("variants", "taclean")
    del config.defenses["cleanclip"]
    assert names("variants", "taclean") == before


@pytest.mark.parametrize("name", ["evidence", "ablation", "threat"])
def test_what_is_compared_differs_in_one_choice(name: str) -> None:
    config = configs.load(configs.DEFAULT, ROOT / f"config/{name}.yaml")
    assert not set(config.run.seeds) & {0, 100}  # on which something was chosen
    for axis in config.axes.values():
        if not set(axis.values) <= set(config.defenses):
            continue
        entries = {value: config.defenses[value] for value in axis.values}
        kinds = {entry.kind for entry in entries.values()}
        for entry in entries.values() if len(kinds) == 1 else ():
            base = next(one for name, one in entries.items() if name == one.kind)
            first, own = (one.given(exclude={"kind", "label"}) for one in (base, entry))
            changed = {key for key in first | own if first.get(key) != own.get(key)}
            assert len(changed) <= 1 or changed == {"rows", "subcaptions", "train"}, axis


def test_a_defence_that_learns_from_fewer_rows_has_texts_of_its_own() -> None:
    few = {"kind": "taclean", "rows": 500, "subcaptions": {"samples": 500}}
    config = checked(DEFAULT, {"defenses": {"few": few}})
    for kind in ("finetune/badnet", "text/variants", "text/subcaptions"):
        assert stage(config, f"{kind}/few/seed0")["rows"] == 500
        assert "rows" not in stage(config, f"{kind}/taclean/seed0")
    assert shared_name(config, "variants", "few") != shared_name(config, "variants", "taclean")


def test_a_defence_may_learn_from_rows_that_the_attacker_had() -> None:
    shared = {"kind": "taclean", "overlap": 0.5, "rows": 2000, "subcaptions": {"samples": 500}}
    config = checked(DEFAULT, {"run": {"defenses": ["shared"]}, "defenses": {"shared": shared}})
    whole = {"rows": 2000, "share": 0.5, "trained": 16000, "seed": 7}
    cleaning = stage(config, "finetune/badnet/shared/seed7-repeat1")
    assert cleaning["overlap"] == whole  # the same rows
    assert stage(config, "text/subcaptions/shared/seed7")["overlap"] == whole
    assert "overlap" not in stage(config, "finetune/badnet/taclean/seed7")
    assert shared_name(config, "variants", "shared") != shared_name(config, "variants", "taclean")


def test_an_attack_with_another_trigger_at_the_test_alone_has_the_models_of_its_kind() -> None:
    moved = {"kind": "badnet", "at_test": {"place": "centre"}, "label": "moved", "marker": "v"}
    other = {**moved, "poisoned": 500}
    twin = {"kind": "badnet"}  # with nothing of its own it is trained, as another entry
    added = {"attacks": {"moved": moved, "other": other, "twin": twin}}
    config = checked(DEFAULT, added)
    found = {name: config.trained_as(name) for name in ("badnet", *added["attacks"])}
    assert found == {"badnet": "badnet", "moved": "badnet", "other": "other", "twin": "twin"}
    trained = stage(config, "pretrain/moved/seed0")["trigger"]
    scored = stage(config, "evaluate/moved/none/seed0")["triggers"]["moved"]
    assert trained["parameters"] == {"size": 33, "place": "corner"}
    assert scored["parameters"] == {"size": 33, "place": "centre"}


def test_a_repeat_changes_the_seed_of_the_cleaning_alone() -> None:
    for path in ("finetune/badnet/taclean", "text/variants/taclean", "text/subcaptions/taclean"):
        first, second = (stage(DEFAULT, f"{path}/seed3{r}") for r in ("", "-repeat2"))
        assert first["seed"] == 3
        assert second["seed"] == cleaning_seed(3, 2)
        assert {key for key in first if first[key] != second[key]} == {"stage", "seed"}
    assert stage(DEFAULT, "evaluate/badnet/none/seed3")["triggers"]["badnet"]["seed"] == 3


def test_no_two_cleanings_have_the_same_seed() -> None:
    seeds = (0, 1, 2, 2**31, 2**32 - 1)
    found = {cleaning_seed(seed, repeat) for seed in seeds for repeat in range(5)}
    assert len(found) == 25
    assert max(found) < 2**63  # what taclean.util.rng takes
    assert [cleaning_seed(seed, 0) for seed in seeds] == list(seeds)


# ---- splits and classes --------------------------------------------------------------------------


def test_roles_not_names_say_what_a_split_is_for() -> None:
    splits = DEFAULT["data"]["emoji"]["splits"]
    renamed = {f"my_{name}": {"role": name, **split} for name, split in splits.items()}
    renamed["my_shift"]["role"] = "extra"
    config = copy.deepcopy(DEFAULT)
    config["data"]["emoji"]["splits"] = renamed
    config["evaluate"]["splits"] = ["my_shift", "my_test"]
    made = checked(config)
    assert made.split_of_role("clean") == "my_clean"
    shared = {"kind": "ft", "rows": 2000, "overlap": 0.5}
    checked(config, {"run": {"defenses": ["shared"]}, "defenses": {"shared": shared}})
    assert look_of(made)["splits"] == ["my_test", "my_shift"]
    assert stage(made, "pack/my_shift")["styles"] == "shift"


def test_classes_are_a_list_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("banana\n  sea  lion \n\nC++\n", "utf-8")
    assert class_names(str(path), "") == ["banana", "sea lion", "C++"]
    assert class_names(["banana", "apple"], "") == ["banana", "apple"]
    for bad, message in (
        (str(tmp_path / "absent"), "nor a text file with one name per line"),
        (["banana", "banana"], "'banana' is given twice"),
        (["banana"], "1 names; give at least 2"),
        (["banana", " ", "apple"], "name 2 is empty; give it, or leave it out"),
    ):
        with pytest.raises(UserError, match=message):
            class_names(bad, "data.x.classes")


# ---- a run without attacks -----------------------------------------------------------------------


def test_one_s_own_model_needs_no_pretrain_patch_and_val() -> None:
    config = checked(OWN, {"data": {"own": {"splits": {"val": None}}}})
    assert config.split_of_role("val") == "test"
    assert "trigger" not in stage(config, "finetune/clean/taclean/seed0")
    tried = OWN["evaluate"]["triggers"]
    assert list(stage(config, "evaluate/clean/none/seed0")["triggers"]) == tried
    assert list(stage(config, "moves/taclean/seed0")["triggers"]) == tried


def test_the_run_s_own_attacks_are_tried_where_no_others_are_named() -> None:
    assert checked(DEFAULT).triggers_on_clean == ATTACKS
    config = with_value("evaluate.triggers", ["sig"])
    assert list(stage(config, "evaluate/clean/none/seed0")["triggers"]) == ["sig"]
    assert list(stage(config, "evaluate/badnet/none/seed0")["triggers"]) == ["badnet"]


def test_the_seeds_of_clean_models_are_no_part_of_a_scan() -> None:
    other = with_value("scan.clean_seeds", [77])
    assert stage(other, "scan/seed0") == stage(DEFAULT, "scan/seed0")
    assert stage(DEFAULT, "clean/seed5")["seed"] == 5
