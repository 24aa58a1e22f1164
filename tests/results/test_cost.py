"""What a defence costs, from the benchmark files of its jobs."""

from pathlib import Path

import pytest

from taclean.results.cost import COLUMNS, cost
from taclean.results.labels import Look

LOOK = Look(defenses={"none": ("No defence", "#7f7f7f"), "old": ("Old", "#000000")})


def benchmark(path: Path, seconds: float) -> str:
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\tNA\n")
    return str(path)


def test_means_over_cleanings(tmp_path: Path) -> None:
    text = benchmark(tmp_path / "text.tsv", 7)
    other = benchmark(tmp_path / "other.tsv", 5)
    runs = [
        {"defense": "new", "training": benchmark(tmp_path / "a.tsv", 30), "texts": [text]},
        {"defense": "old", "training": benchmark(tmp_path / "b.tsv", 10), "texts": []},
        {"defense": "old", "training": benchmark(tmp_path / "c.tsv", 14), "texts": []},
        {"defense": "old", "training": str(tmp_path / "none.tsv"), "texts": []},
        {"defense": "new", "training": benchmark(tmp_path / "d.tsv", 30), "texts": [
            text, other]},
    ]  # fmt: skip
    table = cost(runs, LOOK)
    assert list(table.columns) == COLUMNS
    assert list(table["defense"]) == ["old", "new"]
    assert list(table["cleanings"]) == [2, 2]
    assert list(table["seconds"]) == [12, 30]
    assert table["sd"][0] == pytest.approx(8**0.5)
    assert list(table["text_seconds"]) == [0, 9.5]
    (one,) = cost(runs[:1], LOOK).to_dict("records")
    assert (one["seconds"], str(one["sd"])) == (30, "nan")
    assert cost(runs[3:4], LOOK).empty
    assert list(cost([], LOOK).columns) == COLUMNS
