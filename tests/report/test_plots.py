from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slt_pipeline.errors import SltError
from slt_pipeline.report.plots import plot_gloss_timeline, plot_losses, plot_wer

TRAIN = [{"split": "train", "step": n, "epoch": n // 10 + 1, "loss": 100 / n} for n in range(1, 60)]
DEV = [{"split": "dev", "step": 10 * n, "epoch": n, "wer": 90.0 - n, "loss": 9.0 / n} for n in range(1, 6)]
BLUE, RED = (0x44, 0x77, 0xAA), (0xEE, 0x66, 0x77)


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def _is(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(pixels - colour) <= 2).all(axis=-1)


def _frames(num_frames: int = 50, height: int = 30, width: int = 40) -> np.ndarray:
    return np.full((num_frames, height, width, 3), (0, 200, 0), dtype=np.uint8)


def test_losses_show_training_and_dev(tmp_path):
    plot_losses(TRAIN + DEV, tmp_path / "loss.png")
    pixels = _pixels(tmp_path / "loss.png")
    assert _is(pixels, BLUE).any()
    assert _is(pixels, RED).any()


def test_losses_need_no_dev(tmp_path):
    plot_losses(iter(TRAIN), tmp_path / "loss.png")
    assert not _is(_pixels(tmp_path / "loss.png"), RED).any()


def test_word_error_rate_falls_to_the_right(tmp_path):
    records = [{"split": "dev", "epoch": n, "wer": 100.0 - 15 * n} for n in range(1, 6)]
    plot_wer(iter(records), tmp_path / "wer.png")
    rows, columns = np.nonzero(_is(_pixels(tmp_path / "wer.png"), RED))
    curve = rows > 70  # below the legend
    rows, columns = rows[curve], columns[curve]
    assert rows[columns.argmin()] < rows[columns.argmax()]


def test_training_that_diverged_is_still_drawn(tmp_path):
    plot_losses([*TRAIN, {"split": "train", "step": 60, "loss": float("nan")}], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 0


def test_records_without_the_value_are_refused(tmp_path):
    with pytest.raises(SltError, match='the records have no "wer"'):
        plot_wer(TRAIN, tmp_path / "wer.png")
    with pytest.raises(SltError, match='no "step" or "epoch" with every "loss"'):
        plot_losses([{"loss": 1.0}], tmp_path / "loss.png")
    assert list(tmp_path.iterdir()) == []


def test_unknown_format_is_refused(tmp_path):
    with pytest.raises(SltError, match=r"cannot write a picture as 'loss\.txt'; use one of: .*png"):
        plot_losses(TRAIN, tmp_path / "loss.txt")


def test_vector_format_follows_the_suffix_and_folders_are_made(tmp_path):
    plot_losses(TRAIN, tmp_path / "new" / "loss.svg")
    assert (tmp_path / "new" / "loss.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["loss.svg"]


def test_timeline_puts_bars_at_their_times(tmp_path):
    frames = _frames()  # two seconds
    plot_gloss_timeline(frames, [("REGEN", 0.5, 1.0)], None, tmp_path / "timeline.png")
    pixels = _pixels(tmp_path / "timeline.png")
    strip = np.nonzero(_is(pixels, (0, 200, 0)))[1]
    bar_rows, bar_columns = np.nonzero(_is(pixels, BLUE))
    second = (strip.max() + 1 - strip.min()) / 2
    assert (bar_columns.min() - strip.min()) / second == pytest.approx(0.5, abs=0.02)
    assert (bar_columns.max() - strip.min()) / second == pytest.approx(1.0, abs=0.02)
    assert bar_rows.max() < np.nonzero(_is(pixels, (0, 200, 0)))[0].min()


def test_timeline_puts_the_reference_below_in_the_same_colour(tmp_path):
    spans = [("REGEN", 0.5, 1.0)]
    plot_gloss_timeline(_frames(), spans, [("REGEN", 0.6, 1.2)], tmp_path / "timeline.png")
    pixels = _pixels(tmp_path / "timeline.png")
    bars, strip = np.nonzero(_is(pixels, BLUE))[0], np.nonzero(_is(pixels, (0, 200, 0)))[0]
    assert bars.min() < strip.min() < strip.max() < bars.max()


def test_timeline_scales_with_the_frame_rate(tmp_path):
    plot_gloss_timeline(_frames(20), [("REGEN", 0.5, 1.0)], None, tmp_path / "timeline.png", fps=10)
    pixels = _pixels(tmp_path / "timeline.png")
    strip, bar = np.nonzero(_is(pixels, (0, 200, 0)))[1], np.nonzero(_is(pixels, BLUE))[1]
    assert (bar.min() - strip.min()) / (strip.max() - strip.min()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 30, 40), (3, 260, 210), (400, 20, 20), (30, 10, 90)])
def test_timeline_of_any_shape_and_crowd(tmp_path, shape):
    spans = [(f"ZEIGEN-BILDSCHIRM{n}", 0.02 * n, 0.02 * n + 0.01) for n in range(40)]
    plot_gloss_timeline(_frames(*shape), spans, [], tmp_path / "timeline.png")
    assert _is(_pixels(tmp_path / "timeline.png"), (0, 200, 0)).any()


def test_timeline_without_glosses_shows_the_frames(tmp_path):
    plot_gloss_timeline(_frames(), [], [], tmp_path / "timeline.png")
    assert _is(_pixels(tmp_path / "timeline.png"), (0, 200, 0)).any()


def test_timeline_refuses_other_frames_and_times(tmp_path):
    with pytest.raises(SltError, match=r"got \(50, 30, 40\) uint8"):
        plot_gloss_timeline(_frames()[..., 0], [], None, tmp_path / "timeline.png")
    with pytest.raises(SltError, match="float64"):
        plot_gloss_timeline(_frames() / 255, [], None, tmp_path / "timeline.png")
    with pytest.raises(SltError, match=r"gloss 'WIND' runs from 2 s to 1\.5 s"):
        plot_gloss_timeline(_frames(), [("WIND", 2, 1.5)], None, tmp_path / "timeline.png")
