"""The grid of runs: which there are, and the files that rules read."""

from types import SimpleNamespace

import pytest

from taclean import config as configs
from taclean.runs import Run, Runs
from tests.helpers import ROOT


def runs(**changes: object) -> Runs:
    default = configs.read_yaml(ROOT / "config/config.yaml")
    return Runs(configs.check(configs.resolve(configs.merge(default, changes))))


def wildcards(attack: str = "badnet", defense: str = "ft", seed: str = "0", repeat: str = ""):
    return SimpleNamespace(attack=attack, defense=defense, seed=seed, repeat=repeat)


@pytest.fixture(scope="module")
def odd() -> Runs:
    """Two seeds, two cleanings, and entries that depend on others."""
    return runs(
        run={
            "attacks": ["badclip", "moved"], "defenses": ["ft", "again", "shared"],
            "seeds": [3, 7], "repeats": 2,
        },
        attacks={"moved": {"kind": "badclip", "at_test": {"place": "corner"}}},
        defenses={
            "again": {"kind": "ft", "after": "cleanclip"},
            "shared": {"kind": "taclean", "overlap": 0.5},
        },
    )  # fmt: skip


def test_victims_are_not_repeated_and_the_clean_model_is_not_cleaned(odd: Runs) -> None:
    found = odd.all()
    assert len(found) == len(set(found)) == 2 + 2 * 2 * (1 + 3 * 2)
    clean = {run for run in found if run.attack == "clean"}
    assert clean == {Run("clean", "none", 3), Run("clean", "none", 7)}
    assert {run.repeat for run in found if run.defense == "none"} == {0}


def test_controls_clean_the_clean_model_too() -> None:
    assert Run("clean", "ft", 0) in runs(run={"controls": True}).all()
    assert Run("clean", "ft", 0) in runs(run={"attacks": []}).all()


def test_an_imported_model_is_the_victim_of_every_seed() -> None:
    victim = runs(model={"pretrained": "openai"}).victim(wildcards("clean", seed="5"))
    assert victim == "results/imported/model.safetensors"


def test_scored_splits_win_over_the_clean_one_and_that_over_the_poisoned_one() -> None:
    splits = {"more": {"from": "a"}, "own": {"from": "a"}, "unused": {"from": "a"}}
    rows = {"pretrain": 9000, "clean": 900, "patch": 90, "val": None, "test": None}
    splits |= {name: {"from": "a", "rows": count} for name, count in rows.items()}
    source = {"reader": "csv", "folder": "a"}
    labelled = {"reader": "labels", "folder": "b"}
    for name in ("val", "test"):
        splits[name]["from"] = "b"
    files = {"form": "files", "seed": 0, "classes": ["banana", "fig"], "max_broken": 0}
    files |= {"sources": {"a": source, "b": labelled}, "splits": splits}
    found = runs(
        run={"attacks": ["badnet"], "defenses": ["ft"]},
        data={"name": "own", "own": files},
        evaluate={"splits": ["test", "more"]},
        poison={"rows": 9000},
        defenses={"ft": {"split": "own"}},
    )
    scored, order = ["val", "test", "more"], ["clean", "pretrain", "patch"]
    for name in (*scored, *order, "own", "unused"):
        winners = [*scored, *order, "own"]
        winners = winners[: winners.index(name)] if name in winners else []
        paths = [f"data/own/{winner}/pictures.npy" for winner in winners]
        assert found.known(SimpleNamespace(split=name)) == paths, name
    assert runs().known(SimpleNamespace(split="pretrain")) == []  # scenes have no copies


def test_what_waits_for_the_base_model() -> None:
    found = runs(attacks={"badnet": {"scratch": True}})
    base = "results/base/model.safetensors"
    fits = {name: found.fitted_to(wildcards(name)) for name in ("badclip", "trojvqa", "ssba")}
    assert fits == {"badclip": base, "trojvqa": base, "ssba": []}
    starts = {name: found.poisoned_from(wildcards(name)) for name in ("sig", "badnet", "clean")}
    assert starts == {"sig": base, "badnet": [], "clean": []}


def test_no_figure_shows_the_attacker_s_pictures(odd: Runs) -> None:
    assert odd.shown_user("subcaptions") == ""


def test_measured_runs_name_their_benchmarks(odd: Runs) -> None:
    training = "results/benchmarks/finetune/badclip/ft/seed3.tsv"
    assert odd.measured()[0] == {"defense": "ft", "training": training, "texts": []}


def test_rules_ask_for_the_threads_of_the_config() -> None:
    found = runs(
        attacks={"sig": {"scratch": True}, "ssba": {"train": {"threads": 4}}},
        defenses={"ft": {"train": {"threads": 5}}},
        base={"train": {"threads": 2}},
        poison={"train": {"threads": 3}},
    )
    base = found.training_threads({"seed": "0"})
    victims = [found.training_threads({"attack": name}) for name in ("badnet", "sig", "ssba")]
    names = ("ft", "cleanclip")
    cleaned = [found.training_threads({"attack": "clean", "defense": name}) for name in names]
    assert (base, victims, cleaned) == (2, [3, 2, 4], [5, 1])
    packing = [found.pack_threads(SimpleNamespace(split=name)) for name in ("pretrain", "clean")]
    assert packing == [2, 1]
