"""Frame selection and pixels, on inputs small enough to know the answer."""

import numpy as np
import pytest
import torch
from frames_as_seen import augmented, evaluated, trained
from pydantic import ValidationError
from torchvision.transforms import functional as tvf

from slt_pipeline.config.video import SamplingConfig, TransformConfig
from slt_pipeline.errors import SltError
from slt_pipeline.video import jitter
from slt_pipeline.video.sampling import eval_indices, train_indices
from slt_pipeline.video.transforms import (
    Augmentation,
    draw_augmentation,
    draw_box,
    pad_frames,
    prepare_frame,
)

SMALL = TransformConfig(center_crop=None, image_size=32)


def clip(num_frames=6, height=48, width=40):
    return np.random.default_rng(3).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("num_frames", "first", "length"), [(475, 37, 400), (401, 0, 400), (7, 0, 4), (3, 0, 0)])
def test_evaluation_takes_the_middle_cut_to_a_multiple(num_frames, first, length):
    assert eval_indices(num_frames, SamplingConfig()).tolist() == list(range(first, first + length))


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 40, 399, 900, 2000])
def test_training_lengths_stay_in_range_and_in_order(num_frames):
    rng = np.random.default_rng(0)
    for _ in range(20):
        indices = train_indices(num_frames, SamplingConfig(), rng)
        assert len(indices) % 4 == 0 and 0 < len(indices) <= 400
        assert np.all(np.diff(indices) >= 0) and indices[0] >= 0 and indices[-1] < num_frames
        if len(indices) >= num_frames:
            assert set(indices.tolist()) == set(range(num_frames))
        else:
            assert len(set(indices.tolist())) == len(indices)


def test_the_same_generator_state_gives_the_same_clip():
    config = SamplingConfig()
    draws = [train_indices(50, config, np.random.default_rng([7, 1])).tolist() for _ in range(2)]
    assert draws[0] == draws[1]
    tensors = [trained(clip(), SMALL, np.random.default_rng([7, 2])) for _ in range(2)]
    assert torch.equal(*tensors)


def test_channels_are_reversed_and_scaled_to_one():
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    frames[..., 0] = 255
    bgr = evaluated(frames, SMALL)
    assert bgr.shape == (3, 4, 32, 32) and bgr.dtype == torch.float32 and bgr.is_contiguous()
    assert [float(c.unique()) for c in bgr] == [-1.0, -1.0, 1.0]
    rgb = evaluated(frames, SMALL.model_copy(update={"color_order": "rgb"}))
    assert torch.equal(rgb, bgr.flip(0))


def test_mean_and_std_belong_to_the_channels_that_enter_the_encoder():
    config = SMALL.model_copy(update={"mean": (0.1, 0.2, 0.3), "std": (0.5, 1.0, 2.0)})
    frames = np.full((4, 32, 32, 3), 255, np.uint8)
    assert [float(c.unique()) for c in evaluated(frames, config)] == pytest.approx([1.8, 0.8, 0.35])


def test_centre_crop_of_a_smaller_frame_has_black_bars():
    frames = np.full((4, 40, 20, 3), 255, np.uint8)
    got = evaluated(frames, TransformConfig(center_crop=32, image_size=32))
    assert torch.all(got[..., :6] == -1) and torch.all(got[..., -6:] == -1) and torch.all(got[..., 6:-6] == 1)


def test_resize_equals_interpolation_of_the_whole_float_clip():
    frames = clip()
    want = torch.nn.functional.interpolate(
        torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.0, size=(32, 32), mode="bilinear", antialias=False
    )
    want = ((want.flip(1) - 0.5) / 0.5).transpose(0, 1)
    torch.testing.assert_close(evaluated(frames, SMALL), want, atol=1e-6, rtol=0)


def test_long_clips_are_worked_on_in_parts_without_a_seam():
    frames = clip(70, 96, 96)
    whole = evaluated(frames, SMALL)
    torch.testing.assert_close(whole[:, 60:61], evaluated(frames[60:61], SMALL), atol=1e-6, rtol=0)
    assert whole.shape[1] == 70


@pytest.mark.parametrize(
    ("kind", "value"), [("brightness", 1.4), ("contrast", 0.6), ("saturation", 1.4), ("hue", 0.1), ("hue", -0.5)]
)
def test_jitter_is_torchvisions(kind, value):
    pixels = torch.rand(3, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    pixels[:, 0, :8] = 0.5
    pixels[:, 1, :8] = 0.0
    pixels[1:, 2, :8] = 1.0
    want = getattr(tvf, f"adjust_{kind}")(pixels.transpose(0, 1).contiguous(), value).transpose(0, 1)
    torch.testing.assert_close(jitter.adjust(pixels.clone(), kind, value), want, atol=3e-6, rtol=0)


def test_unknown_jitter_raises():
    with pytest.raises(ValueError, match="gamma"):
        jitter.adjust(torch.zeros(3, 1, 2, 2), "gamma", 1.0)


def test_crops_stay_inside_and_within_the_drawn_ranges():
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, height, width = draw_box(260, 210, TransformConfig(), rng)
        assert top >= 0 and left >= 0 and top + height <= 260 and left + width <= 210
        assert 0.69 < height * width / (260 * 210) <= 1.0
        assert 0.73 < width / height < 1.32


def test_crop_falls_back_to_the_centre_where_no_box_fits():
    assert draw_box(400, 40, TransformConfig(), np.random.default_rng(0)) == (173, 0, 53, 40)
    assert draw_box(40, 400, TransformConfig(), np.random.default_rng(0)) == (0, 174, 40, 52)


def test_jitter_happens_as_often_as_asked():
    rng = np.random.default_rng(0)
    drawn = [draw_augmentation(48, 40, TransformConfig(), rng).jitter for _ in range(500)]
    share = sum(bool(jitter) for jitter in drawn) / len(drawn)
    assert 0.22 < share < 0.38
    assert len({tuple(kind for kind, _ in jitter) for jitter in drawn if jitter}) > 10


def test_one_augmentation_for_the_whole_clip():
    frames = np.repeat(clip(1), 5, axis=0)
    augmentation = Augmentation((3, 2, 40, 30), (("hue", 0.05), ("contrast", 1.2)))
    got = augmented(frames, augmentation, SMALL)
    assert all(torch.equal(got[:, 0], got[:, t]) for t in range(5))


def test_pictures_are_resized_first_where_asked():
    config = TransformConfig(pre_resize=(32, 32), center_crop=None, image_size=32)
    assert evaluated(clip(), config).shape == (3, 6, 32, 32)


def test_a_large_picture_is_made_smaller_with_its_proportions_and_a_small_one_stays():
    config = TransformConfig(max_pixels=1000)
    height, width, _ = prepare_frame(clip(1, 90, 160)[0], config).shape
    assert height * width <= 1000 < (height + 2) * (width + 2)
    assert width / height == pytest.approx(160 / 90, rel=0.08)
    small = clip(1, 25, 40)[0]
    assert np.array_equal(prepare_frame(small, config), small)
    assert prepare_frame(clip(1, 90, 160)[0], TransformConfig(max_pixels=None)).shape == (90, 160, 3)


def test_published_frames_are_not_made_smaller():
    phoenix, csl = clip(1, 260, 210)[0], clip(1, 512, 512)[0]
    assert np.array_equal(prepare_frame(phoenix, TransformConfig()), phoenix)
    assert prepare_frame(csl, TransformConfig(pre_resize=(320, 320), center_crop=270)).shape == (320, 320, 3)


def test_padding_repeats_the_last_frame():
    clips = [torch.rand(3, length, 8, 8) for length in (8, 4)]
    frames, lengths = pad_frames(clips)
    assert frames.shape == (2, 3, 8, 8, 8) and lengths.tolist() == [8, 4]
    assert torch.equal(frames[0], clips[0]) and torch.equal(frames[1, :, :4], clips[1])
    assert torch.equal(frames[1, :, 4:], clips[1][:, 3:].expand(-1, 4, -1, -1))


def test_padding_refuses_a_clip_without_frames():
    with pytest.raises(ValueError, match="clip 1 of the batch"):
        pad_frames([torch.zeros(3, 4, 8, 8), torch.zeros(3, 0, 8, 8)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SamplingConfig(tmin=2.0), "above tmax"),
        (lambda: SamplingConfig(max_frames=401), "no multiple"),
        (lambda: TransformConfig(crop_area=(1.0, 0.7)), "crop_area"),
        (lambda: TransformConfig(colour_order="bgr"), "Extra inputs"),
    ],
)
def test_contradictory_settings_are_refused(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


def test_a_crop_of_which_nothing_is_left_is_refused_with_both_numbers():
    picture = np.zeros((8, 6, 3), np.uint8)
    assert prepare_frame(picture, TransformConfig(pre_crop_top=7)).shape == (1, 6, 3)
    with pytest.raises(SltError, match=r"pre_crop_top is 8, and the frame has 8 rows, so that nothing is left; lower"):
        prepare_frame(picture, TransformConfig(pre_crop_top=8))


def test_a_box_has_a_pixel_at_least():
    config = TransformConfig(crop_aspect=(1e-9, 1e-8))
    assert draw_box(8, 6, config, np.random.default_rng(0))[2:] == (8, 1)
