"""The grid of runs: which there are, and the files that rules read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from taclean import config as configs
from taclean.config.runs import Run, Runs

ROOT = Path(__file__).parents[2]
SHARED = {"kind": "taclean", "overlap": 0.5}
AGAIN = {"kind": "ft", "after": "cleanclip"}
MOVED = {"kind": "badclip", "at_test": {"place": "corner"}}


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
        attacks={"moved": MOVED},
        defenses={"again": AGAIN, "shared": SHARED},
    )  # fmt: skip


def test_victims_are_not_repeated_and_the_clean_model_is_not_cleaned(odd: Runs) -> None:
    found = odd.all()
    assert len(found) == len(set(found)) == 2 + 2 * 2 * (1 + 3 * 2)
    assert {run for run in found if run.attack == "clean"} == {
        Run("clean", "none", 3), Run("clean", "none", 7),
    }  # fmt: skip
    assert {run.repeat for run in found if run.defense == "none"} == {0}


def test_controls_clean_the_clean_model_too() -> None:
    assert Run("clean", "ft", 0) in runs(run={"controls": True}).all()
    assert Run("clean", "ft", 0) in runs(run={"attacks": []}).all()


def test_an_attack_that_differs_at_the_test_alone_trains_nothing(odd: Runs) -> None:
    assert {run.attack for run in odd.cleanings()} == {"clean", "badclip"} - {"clean"}
    moved = wildcards("moved", "ft", "3", "-repeat1")
    assert odd.model(moved) == "results/runs/badclip/ft/seed3-repeat1/model.safetensors"
    assert odd.fitted(moved) == ["results/attacks/badclip/seed3/trigger.safetensors"]
    assert odd.trigger_options(moved) == [f"moved={odd.fitted(moved)[0]}"]


def test_a_cleaning_starts_from_its_victim_or_where_another_ended(odd: Runs) -> None:
    victim = "results/runs/badclip/none/seed3/model.safetensors"
    assert odd.start(wildcards("badclip", "ft", "3", "-repeat1")) == victim
    again = wildcards("badclip", "again", "3", "-repeat1")
    assert odd.start(again) == "results/runs/badclip/cleanclip/seed3-repeat1/model.safetensors"
    assert odd.victim(wildcards("clean")) == "results/base/model.safetensors"


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({"base": {"per_seed": True}}, "results/clean/seed5/model.safetensors"),
        ({"model": {"pretrained": "openai"}}, "results/imported/model.safetensors"),
    ],
)
def test_base_models(changes: dict[str, object], base: str) -> None:
    assert runs(**changes).victim(wildcards("clean", seed="5")) == base


def test_defences_learn_from_the_clean_split_or_from_the_attacker_s(odd: Runs) -> None:
    assert odd.learned_by("ft")[0] == "data/emoji/clean/images.npy"
    assert odd.learned_by("shared")[0] == "data/emoji/pretrain/images.npy"
    assert odd.shown_user("subcaptions") == []  # no figure of the attacker's pictures
    (text, _) = odd.texts(wildcards("badclip", "shared", "3"))
    kind, shared = text.split("/")[3:5]
    assert odd.text_split(SimpleNamespace(text=kind, shared=shared)) == odd.learned_by("shared")


def test_measured_runs_name_their_benchmarks(odd: Runs) -> None:
    first = odd.measured()[0]
    assert first == {
        "defense": "ft",
        "training": "results/benchmarks/finetune/badclip/ft/seed3.tsv",
        "texts": [],
    }
