"""The benchmarks' plain references give what ours gives; the CSV keeps others' rows."""

import json
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import __main__ as command
from benchmarks import accuracy, chain, common, evaluation, packing, reference, start, step
from benchmarks.common import Row
from benchmarks.triggers import make
from taclean.clip.encode import normalize
from taclean.config import registry
from taclean.config.schema import Train
from taclean.data.images import load_image
from taclean.data.split import to_array
from taclean.defenses import make_defense
from taclean.evaluation.zeroshot import Prompts
from taclean.training.loader import Batch
from taclean.training.loop import Training


@pytest.mark.parametrize("name", reference.TRIGGERS)
def test_a_plain_trigger_gives_our_pictures(name: str, tmp_path: Path) -> None:
    images = common.photos(3, 224, 224, seed=1)
    ours, plain = make(name, tmp_path, fixed=True)
    mine = to_array(ours(torch.from_numpy(images).permute(0, 3, 1, 2), np.arange(3))).astype(int)
    other = np.stack([np.asarray(plain(Image.fromarray(image))) for image in images[:1]])
    assert np.abs(mine[:1] - other).max() <= 1  # torchvision cuts where we round
    assert np.abs(mine - images).max() > 1


@pytest.mark.parametrize("defense", reference.DEFENSES)
def test_the_plain_loss_is_ours_in_fp32(defense: str, tiny, tiny_name: str) -> None:
    data = step.Data(8, tiny_name, 32)
    index = np.array([1, 4, 2, 7, 6])
    objective = make_defense(defense, 3, data.texts())
    batch = Batch(0, index, *data.pairs.batch(index), (index,))
    ours = objective.loss(tiny, batch)["total"]
    images = batch.images.float() / 255
    views = step.AUGMENTATIONS["mild"](images, index, 3, 0)
    texts = [data.tokens[index], data.variants[index]]
    here = [1, 2, 4]  # the even rows
    if reference.DEFENSES[defense]:
        texts += [data.positives[[2, 1, 3]], data.negatives[[2, 1, 3]]]
    tokens = [torch.from_numpy(t.astype(np.int64)) for t in texts]
    plain = reference.loss(
        tiny, normalize(tiny, images), normalize(tiny, views), *tokens[:2], here, *tokens[2:]
    )
    assert plain.item() == pytest.approx(ours.item(), abs=1e-4)


@pytest.mark.parametrize("defense", reference.DEFENSES)
def test_a_plain_step_lowers_its_loss(
    defense: str, tiny_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "LR", 1e-3)
    run = step.plain(step.Data(8, tiny_name, 32), defense, 8)
    losses = [run() for _ in range(6)]
    assert losses[-1] < losses[0]


@pytest.fixture
def small_step(tiny_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for own, value in {"MODEL": tiny_name, "OWN": tiny_name, "SIZE": 32, "OWN_SIZE": 32}.items():
        monkeypatch.setattr(step, own, value)
    monkeypatch.setattr(step, "OWN_BATCH", 8)


def test_a_step_s_arithmetic_is_a_share_of_the_peak(small_step: None) -> None:
    small, large = (step._cost(step.OWN, 32, batch, 1, False)[1] for batch in (4, 8))
    assert 0 < small < large < 2.2 * small
    speed, share = step._use(step.OWN, 32, (4,), 1, 256, False)
    assert (speed.unit, share.unit) == ("pair/s", "TFLOP/s")
    assert 0 < float(share.ratio) < 1


def test_compiled_steps_are_rows_of_their_own_and_need_a_compiler(
    small_step: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = []

    def taken_as_it_is(function, **options):
        compiled.append(function)
        return function

    monkeypatch.setattr(step, "peak", lambda side: 1e12)
    monkeypatch.setattr(step, "compare", lambda *steps: [common.seconds(run) for run in steps[:2]])
    monkeypatch.setattr(torch, "compile", taken_as_it_is)
    rows = step.main()
    named = [row.what.replace(", compiled", "") for row in rows if ", compiled" in row.what]
    assert len(named) == 6
    assert named == [row.what for row in rows if ", compiled" not in row.what]
    assert len(compiled) == 12  # both towers of four models, and what asks for a compiler

    def none(*arguments, **options):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", none)
    assert [row.what for row in step.main()] == named
    assert "No working C++ compiler found" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_tell_their_rate() -> None:
    assert step.launch(2, "ViT-S-32-alt", 224, 2, 1) > 0  # on a CPU, no BatchNorm


def test_the_plain_evaluation_counts_what_ours_counts(tiny_name: str, tmp_path: Path) -> None:
    case = evaluation.Case(tiny_name, 32, 60, 12, 5, tmp_path)
    torch.testing.assert_close(case.plain_head().T, case.head(), atol=1e-5, rtol=0)
    found = case.evaluate(precision="fp32")
    clean, attacked = case.plain_evaluate()
    assert clean == {k: found["clean"][f"CA@{k}"]["hits"] for k in clean}
    assert attacked == {k: found["t"][f"ASR@{k}"]["hits"] for k in attacked}
    assert 0 < clean[10] < 60


def test_the_plain_decoding_is_ours(tmp_path: Path) -> None:
    for i, data in enumerate(packing.jpegs(2)):
        (tmp_path / f"{i}.jpg").write_bytes(data)
        plain = reference.decode(tmp_path / f"{i}.jpg")
        np.testing.assert_array_equal(plain, load_image(data, 224))


def test_shards_hold_the_rows_asked_for(tmp_path: Path) -> None:
    names = packing.shards(tmp_path, 20, per_shard=8)
    packing.pack(tmp_path, names[:2], tmp_path / "packed")
    images = np.load(tmp_path / "packed/images.npy")
    assert (len(names), images.shape) == (3, (16, 224, 224, 3))


def test_captions_are_as_long_as_cc3m_s() -> None:
    words = [len(caption.split()) for caption in common.captions(4000)]
    assert np.mean(words) == pytest.approx(10.3, abs=0.3)
    assert np.std(words) == pytest.approx(4.5, abs=0.4)


def test_a_run_replaces_its_own_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    mine = [Row("a, 2 cores", what, "1", "2", "2", "s") for what in ("step", "trigger")]
    other = Row("b", "step", "1", "3", "3", "s")
    common.write(path, [*mine, other])
    again = Row("a, 2 cores", "step", "1", "4", "4", "s")
    common.write(path, [again])
    assert common.read(path) == [again, mine[1], other]
    common.write(path, [again], everything=True)
    assert common.read(path) == [other, again]
    assert path.read_text().startswith("machine,what,ours,reference,ratio,unit\n")


def test_the_command_times_an_attack_without_a_published_form_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.triggers.BATCH", 2)
    monkeypatch.setattr(registry, "names", lambda folder: ["badnet", "blended"])
    monkeypatch.setattr(reference, "TRIGGERS", {"blended": reference.TRIGGERS["blended"]})
    path = tmp_path / "out.csv"
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only", "triggers", "--csv", str(path)])
    command.main()
    alone, compared, total = common.read(path)
    assert (alone.what, alone.reference, alone.ratio) == ("trigger badnet, 224 px", "", "")
    assert float(alone.ours) > 0
    assert float(compared.ratio) > 0
    assert total.what == "trigger, 1 attacks with a published form on one image"
    assert (total.ours, total.reference) == (compared.ours, compared.reference)
    assert {row.machine for row in (alone, compared, total)} == {common.machine()}


def test_a_stage_s_start_ends_at_the_first_file_it_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "REPEATS", 1)
    monkeypatch.setattr(start, "BARE", [sys.executable, "-c", "pass"])
    commands = start.commands(tmp_path)
    assert set(commands) == set(start.STAGES)
    assert all(part.is_file() for c in commands.values() if (part := Path(c[5])).parent == tmp_path)
    monkeypatch.setattr(start, "STAGES", {"gate": start.STAGES["gate"]})
    assert all(0 < float(row.ratio) < 1 for row in start.main())  # a bare Python is faster
    with pytest.raises(RuntimeError, match="exit status 0"):
        start.start([sys.executable, "-c", "pass"])


def test_a_run_s_time_is_shared_by_the_jobs_of_every_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """base 0-10, then two poisoned models 10-20 and 10-16, evaluation 16-22, the table 22-25."""
    records = tmp_path / ".snakemake/metadata"
    records.mkdir(parents=True)
    table = "results/table.csv"
    for rule, begin, end, made, needed in (
        ("base", 0, 10, "base", []),
        ("pretrain", 10, 20, "a", ["base", "data"]),
        ("pretrain", 10, 16, "b", ["base", "data"]),
        ("evaluate", 16, 22, "scores", ["b"]),
        ("table", 22, 25, table, ["scores"]),
    ):
        times = {"starttime": 1e9 + begin, "endtime": 1e9 + end}
        record = {"rule": rule, "log": [made], "input": needed, **times}
        name = urlsafe_b64encode(made.encode()).decode().rstrip("=")
        (records / name).write_text(json.dumps(record), "utf-8")
    results = tmp_path / "results"
    assert chain.main(results) == []
    assert "no finished run" in capsys.readouterr().out
    results.mkdir()
    (tmp_path / table).touch()
    parts = chain.shares(chain.jobs(tmp_path), 1e9, 1e9 + 25)
    assert parts == {"base": 10, "pretrain": 8, "evaluate": 4, "table": 3}
    whole, share, path, *more = chain.main(results)
    assert (whole.ours, share.ours, path.ours) == ("25", "28", "25")
    assert [made.ours for made in more] == ["25"] * 3
    assert chain.simulated(chain.jobs(tmp_path), 1) == 35


def test_the_clock_stops_at_the_accuracy_asked_for(
    tiny, tiny_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = step.Data(40, tiny_name, 32).pairs
    settings = Train(lr=1e-4, epochs=1, batch=8, warmup=0)
    prompts = Prompts(tiny_name, [str(label) for label in range(40)], ["a {}."], "0")

    def to(wanted: float) -> float | None:
        training = Training(tiny, pairs, make_defense(None), settings, seed=0)
        return accuracy.seconds_to(wanted, training, pairs, prompts, every=2)

    assert 0 < to(0.0) < 60
    assert capsys.readouterr().out.count("step 2 of 5") == 1
    assert to(100.1) is None
    told = capsys.readouterr().out
    assert [f"step {n} of 5" in told for n in range(1, 6)] == [False, True, False, True, True]
