"""Other people's tools: plain open_clip loads our results, CLIP_benchmark counts as we do."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from taclean import cli
from taclean import config as configs
from taclean.attacks import make_trigger
from taclean.clip import encode, models
from taclean.data import scenes
from taclean.data.split import Pairs
from taclean.evaluation import zeroshot
from taclean.evaluation.embeddings import Labelled, embed
from taclean.evaluation.evaluate import score
from taclean.stages import stage_config
from tests.clip.test_models import Run

# Run where taclean is not imported; argv: name, file, folder of model configs, picture, result.
PLAIN = """
import sys
import open_clip, safetensors.torch, torch
from PIL import Image

name, file, configs, picture, result = sys.argv[1:]
torch.set_num_threads(1)
if configs:
    open_clip.add_model_config(configs)
model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=file)
model.eval()
with torch.no_grad():
    image = model.encode_image(preprocess(Image.open(picture))[None], normalize=True)
    tokens = open_clip.get_tokenizer(name)(["a photo of a banana.", "kiwis"])
    text = model.encode_text(tokens, normalize=True)
assert "taclean" not in sys.modules
safetensors.torch.save_file({"image": image, "text": text}, result)
"""


@pytest.mark.parametrize("name", ["RN50-quickgelu", "emoji-rn", "emoji-vit48"])
def test_plain_open_clip_gives_the_same_embeddings(name: str, tmp_path: Path) -> None:
    model = models.create(name, 5).eval()
    models.save_weights(model, tmp_path / "cleaned.safetensors", stage="test")
    size = int(np.max(model.visual.image_size))  # a pair of a ViT
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    configs = str(resources.files("taclean") / "model_configs") if name.startswith("emoji") else ""
    files = [str(tmp_path / f) for f in ("cleaned.safetensors", "picture.png", "result.st")]
    command = [sys.executable, "-c", PLAIN, name, files[0], configs, *files[1:]]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    plain = safetensors.torch.load_file(files[2])
    tokens = models.tokenize(name, ["a photo of a banana.", "kiwis"]).astype(np.int64)
    with torch.no_grad():
        image = encode.encode_images(model, torch.from_numpy(pixels).permute(2, 0, 1)[None])
        text = encode.encode_tokens(model, torch.from_numpy(tokens))
    torch.testing.assert_close(image, plain["image"], atol=1e-5, rtol=0)
    torch.testing.assert_close(text, plain["text"], atol=1e-5, rtol=0)
    assert image.shape == (1, model.text_projection.shape[1])
    torch.testing.assert_close(image.norm(dim=1), torch.ones(1))


CLASSES = ("banana", "strawberry", "cucumber", "zebra", "pear", "carrot", "dog", "fire truck")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_clip_benchmark_counts_the_same_accuracy(
    tmp_path: Path, tiny_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image files, eight classes, three of OpenAI's templates: zero-shot accuracy is equal."""
    benchmark = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    # Its `float(array)` of a one-element array is an error since numpy 2.4.
    monkeypatch.setattr(benchmark, "float", lambda array: array.item(), raising=False)
    torch.manual_seed(0)  # of the model's first weights
    model, _, preprocess = open_clip.create_model_and_transforms(tiny_name)
    pixels, _, labels = scenes.compose(range(1200), 1, size=32, classes=CLASSES)
    images, targets = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels)
    # Train a little, so that the accuracy is neither chance nor one.
    prompts = zeroshot.prompt_tokens(tiny_name, CLASSES, ["a photo of a {}."])[:, 0]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for rows in torch.arange(1000).repeat(5).split(100):
        embedded = encode.encode_images(model, images[rows])
        logits = 20 * embedded @ encode.encode_tokens(model, prompts).T
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, targets[rows]).backward()
        optimizer.step()
    for i in range(1000, 1200):
        (tmp_path / str(labels[i])).mkdir(exist_ok=True)
        Image.fromarray(pixels[i]).save(tmp_path / str(labels[i]) / f"{i}.png")
    sentences = [template("{c}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES[:3]]
    loader = DataLoader(ImageFolder(str(tmp_path), preprocess), batch_size=64)
    given = model.eval(), loader, open_clip.get_tokenizer(tiny_name), CLASSES, sentences, "cpu"
    theirs = benchmark.evaluate(*given, amp=False)
    templates = [sentence.replace("{c}", "{}") for sentence in sentences]
    head = zeroshot.head(model, zeroshot.prompt_tokens(tiny_name, CLASSES, templates))
    data = Labelled(images[1000:], targets[1000:])
    ours = zeroshot.scores(embed(model, data, precision="fp32"), head)["clean"]
    assert 0.14 < theirs["acc1"] < theirs["acc5"] < 1
    assert ours["CA@1"]["hits"] / 200 == theirs["acc1"]
    assert ours["CA@5"]["hits"] / 200 == theirs["acc5"]


# ---- checkpoints of others through the commands --------------------------------------------------


def cleanclip_form(model: nn.Module, path: Path) -> Path:
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": state, "optimizer": {}}, path)
    return path


def test_check_scores_a_checkpoint_of_another_form(tmp_path: Path, random_model, split, capsys):
    path = cleanclip_form(random_model, tmp_path / "epoch_1.pt")
    trigger = {"size": 20, "place": "centre"}
    out, same = tmp_path / "scores.json", tmp_path / "same.yaml"
    value = {"model": {"name": "emoji-rn"}, "data": {"image_size": 64}}
    same.write_text(json.dumps(value | {"attacks": {"badnet": {"trigger": trigger}}}), "utf-8")
    arguments = ["--test", split, "--attacks", "badnet", "--configfile", same, "--out", out]
    cli.main([str(a) for a in ("check", "--checkpoint", path, *arguments)])
    lines = capsys.readouterr().out.splitlines()

    known = stage_config(configs.load(configs.DEFAULT), "evaluate/badnet/none/seed0")["zeroshot"]
    heads = zeroshot.Prompts("emoji-rn", **known).heads(random_model)
    wanted = score(Pairs.open(split), heads, {"badnet": make_trigger("badnet", 0, **trigger)})
    assert json.loads(out.read_text())["scores"] == wanted
    assert [line.split(":")[0] for line in lines[2:]] == ["clean CA", "badnet ASR", "badnet TA"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attacks", "badnot"], "badnot"),
        (["--attacks", "ssba"], "needs a fit"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt"),
        (["--checkpoint", "evil.pt"], "evil.pt: refused, it would run code"),
        (["--model", "RN51"], "RN51"),
    ],
)
def test_check_refuses_with_one_line(
    tmp_path, random_model, split, capsys, monkeypatch, arguments, message
):
    path = cleanclip_form(random_model, tmp_path / "epoch_1.pt")
    torch.save({"state_dict": Run("touch mark")}, tmp_path / "evil.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", "--checkpoint", str(path), "--test", str(split), *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not Path("mark").exists()


def test_import_writes_what_plain_open_clip_reads(tmp_path, tiny, tiny_name, capsys):
    path, out = cleanclip_form(tiny, tmp_path / "epoch_1.pt"), tmp_path / "model.safetensors"
    stage = {"model": tiny_name, "pretrained": str(path), "seed": 0}
    (tmp_path / "base.json").write_text(json.dumps(stage))
    cli.main(["import", "--config", str(tmp_path / "base.json"), "--out", str(out)])
    plain = open_clip.create_model(tiny_name, pretrained=str(out)).state_dict()
    assert all(torch.equal(plain[key], value) for key, value in tiny.state_dict().items())
    assert tiny_name in capsys.readouterr().out
