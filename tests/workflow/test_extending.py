"""Follow docs/extending.md word by word: an attack, a defence, a data set and a reader."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from taclean.config import registry
from taclean.data import scenes
from tests.helpers import ROOT, copy_sources, run, snakemake

SMALL = str(ROOT / "config/test/smoke.yaml")


def blocks() -> dict[str, str]:
    """Return the files of the page by name; the first line of each file has its name."""
    page = (ROOT / "docs/extending.md").read_text("utf-8")
    return dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", page, re.DOTALL))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workflow with the page's files and no other change."""
    copy = copy_sources(tmp_path_factory.mktemp("house"), "tools")
    for name, text in blocks().items():
        (copy / name).write_text(text, "utf-8")
    return copy


def printed(house: Path, *arguments: str, module: str = "taclean") -> str:
    return run("python", "-m", module, *arguments, cwd=house, source=house).stdout


def test_the_page_has_a_file_for_each_and_touches_no_other() -> None:
    names = list(blocks())
    assert [name for name in names if name.endswith(".py")] == [
        "taclean/attacks/frame.py",
        "taclean/defenses/anchored.py",
        "outlier.py",
        "taclean/data/readers/json_lines.py",
    ]
    assert not [name for name in names if (ROOT / name).exists()]


def test_the_reference_page_has_the_new_keys(house: Path) -> None:
    assert registry.load("detectors", str(house / "outlier.py")).looks_at == "images"
    page = printed(house, module="tools.config_reference")
    assert "| `attacks.frame.trigger.width` | number | `12` | 1 to 112 | Width of" in page
    assert "| `defenses.anchored.loss.lambda_anchor` | number | `1.0` | 0 or more |" in page


@pytest.mark.slow
def test_attack_and_defence_reach_table_gallery_and_report(house: Path, tmp_path: Path) -> None:
    frames = {name: {"poisoned": 20, "gate": 0} for name in ("frame", "frame_thin")}
    own: dict[str, Any] = {"source": house, "text": yaml.safe_dump({"attacks": frames})}
    own["files"] = [SMALL, house / "frame.yaml", house / "anchored.yaml"]
    snakemake(tmp_path, "all", **own)
    table = pd.read_csv(tmp_path / "results/table.csv", keep_default_na=False)
    assert table.attack.unique().tolist() == ["clean", "frame", "frame_thin"]
    assert table.defense.unique().tolist() == ["none", "ft", "anchored", "anchored_hard"]
    text = re.sub(" +", " ", (tmp_path / "results/main_table.md").read_text("utf-8"))
    assert "| Defence | Frame | Frame thin |" in text
    for label in ("| Anchored |", "| Anchored hard |"):
        assert label in text
    manifest = pd.read_csv(tmp_path / "results/attacks/frame_thin/seed0/poison/manifest.csv")
    assert manifest.trigger.unique().tolist() == ["frame_thin"]
    images = np.load(tmp_path / "results/attacks/frame/seed0/poison/images.npy")
    assert (images[:, :3, :, 0] == 255).all()  # 12 px at 224 are 3 of 64
    assert (images[:, :3, :, 1:] == 0).all()
    for name in ("triggers", "asr_ca", "curves"):
        assert (tmp_path / f"results/figures/{name}.pdf").stat().st_size > 1000
    snakemake(tmp_path, "--report", tmp_path / "report.html", "all", **own)
    assert (tmp_path / "report.html").stat().st_size > 100_000


CLASSES = yaml.safe_load(blocks()["photos.yaml"])["data"]["photos"]["classes"]


def write_photos(folder: Path) -> None:
    """Write the data of the page: 90 pictures with two captions each, and a labelled tree."""
    pixels, _, _ = scenes.compose(range(90 + 6 * len(CLASSES)), 3, size=48)
    (folder / "pictures").mkdir()
    lines = ["number|file|text"]
    for i, image in enumerate(pixels[:90]):
        Image.fromarray(image).save(folder / f"pictures/{i}.jpg")
        name = CLASSES[i % len(CLASSES)]
        for text in (f"a large {name} in the field", f"the {name} is, as ever, brown"):
            lines.append(f"{i}|pictures/{i}.jpg|{text}")
    (folder / "captions.csv").write_text("\n".join(lines), "utf-8")
    for i, image in enumerate(pixels[90:]):
        place = folder / "test" / CLASSES[i % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")


@pytest.mark.slow
def test_photographs_without_imagenet_reach_the_report(house: Path, tmp_path: Path) -> None:
    write_photos(tmp_path)
    rows = {"pretrain": 100, "clean": 40, "patch": 20, "val": 20, "photos": 40}
    splits = {name: {"rows": count} for name, count in rows.items()}
    value = {
        "run": {"attacks": ["badclip"], "defenses": ["taclean"]},
        "data": {"photos": {"splits": splits}}, "base": {"train": {"batch": 16}},
        "poison": {"rows": 90, "train": {"batch": 16}}, "finetune": {"train": {"batch": 8}},
        "attacks": {"badclip": {"poisoned": 8, "gate": 0, "fit": {"epochs": 1}}},
        "defenses": {"taclean": {"subcaptions": {"samples": 20}}}, "evaluate": {"samples": 20},
    }  # fmt: skip
    files, text = [SMALL, house / "photos.yaml"], yaml.safe_dump(value)
    snakemake(tmp_path, "all", files=files, text=text, source=house)
    table = pd.read_csv(tmp_path / "results/table.csv", keep_default_na=False)
    assert set(table.split) == {"photos", "photos+badclip"}
    assert set(table[table.metric == "CA@1"].n) == {40}
    assert "CA@10" not in set(table.metric)  # with ten classes every class is in the top ten
    assert (tmp_path / "results/figures/subcaptions.html").stat().st_size > 1000


def test_a_reader_lists_and_packs_its_source(house: Path, tmp_path: Path) -> None:
    images, captions, _ = scenes.compose(range(6), 3, size=48)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    lines = [json.dumps({"image": f"{i % 6}.png", "caption": captions[i % 6]}) for i in range(8)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines), "utf-8")
    overlay = tmp_path / "lines.yaml"
    source = {"reader": "json_lines", "folder": str(tmp_path), "separator": None, "columns": None}
    rows = {"pretrain": {"rows": 4}, "clean": {"rows": 2}, "patch": {"rows": 1}}
    data = {"photos": {"sources": {"pairs": source}, "splits": rows}}
    value = {"run": {"attacks": [], "defenses": ["ft"]}, "data": data}
    overlay.write_text(yaml.safe_dump(value), "utf-8")
    for name, stage in (("index", "index/pairs"), ("pack", "pack/pretrain")):
        files = [SMALL, str(house / "photos.yaml"), str(overlay)]
        text = printed(house, "config", stage, "--configfile", *files)
        (tmp_path / f"{name}.json").write_text(text, "utf-8")
    index, out = str(tmp_path / "index.parquet"), str(tmp_path / "pretrain")
    more = ("--folder", str(tmp_path), "--out")
    said = printed(house, "index", "--config", str(tmp_path / "index.json"), *more, index)
    assert "8 samples of 6 pictures" in said
    printed(house, "pack", "--config", str(tmp_path / "pack.json"), *more, out, "--index", index)
    listed = pd.read_csv(tmp_path / "pretrain/rows.csv", index_col="row")
    packed = (tmp_path / "pretrain/captions.txt").read_text("utf-8").splitlines()
    assert packed == [captions[i % 6] for i in listed["id"]]
