import numpy as np
import pytest
from PIL import Image

from slt_pipeline.report.modality import plot_embedding, plot_modality_gap
from slt_pipeline.report.tsne import tsne

BLUE, RED = (0x44, 0x77, 0xAA), (0xEE, 0x66, 0x77)


def _has(path, colour, within=2) -> bool:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return bool((np.abs(pixels - colour) <= within).all(axis=-1).any())


@pytest.mark.parametrize("number", [1, 9])
def test_gaps_and_their_cost_are_drawn_for_every_run(tmp_path, number):
    runs = [f"run {n} of some long name, as the folders of a sweep have" for n in range(number)]
    layers = [{"run": run, "layer": name, "gap": 3.0} for run in runs for name in ("embedding", "layer 1")]
    parts = [{"run": run, "part": n, "clips": 4, "bleu4": 10.0 * n} for run in runs for n in range(1, 6)]
    plot_modality_gap(layers, parts, "dev", tmp_path / "gap.png")
    assert _has(tmp_path / "gap.png", BLUE)
    assert _has(tmp_path / "gap.png", RED) == (number > 1)


@pytest.mark.parametrize("number", [2, 13])
def test_panels_show_both_modalities_of_runs_with_unequal_layers(tmp_path, number):
    layers = {"small": ["embedding", "layer 1"], "other": ["embedding", *(f"layer {n}" for n in range(1, number))]}
    points = [
        {"run": run, "layer": layer, "modality": modality, "x": float(n), "y": float(n * n)}
        for run, names in layers.items()
        for layer in names
        for modality in ("signs", "text")
        for n in range(9)
    ]
    plot_embedding(points, "dev", tmp_path / "points.png")
    for light, colour in ((0.7, BLUE), (0.7, RED)):
        assert _has(tmp_path / "points.png", [round(light * c + (1 - light) * 255) for c in colour])


def test_the_plane_keeps_neighbours_and_is_the_same_each_time():
    points = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    points[20:] += 30
    plane = tsne(points, seed=1)
    assert plane.shape == (40, 2)
    distances = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert ((distances.argmin(axis=1) < 20) == (np.arange(40) < 20)).all()
    assert np.array_equal(plane, tsne(points, seed=1))


def test_four_points_are_enough():
    assert np.isfinite(tsne(np.eye(4, dtype=np.float32), seed=0)).all()
