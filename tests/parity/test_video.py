"""Frame selection, loading and transforms against the numbers of the published code."""

import random
import re

import numpy as np
import pytest
import torch
from frames_as_seen import augmented, evaluated
from parity_data import case_names

from slt_pipeline.config.video import SamplingConfig, TransformConfig
from slt_pipeline.video.reader import open_video
from slt_pipeline.video.sampling import eval_indices, train_indices
from slt_pipeline.video.transforms import (
    Augmentation,
    draw_augmentation,
    draw_box,
    pad_frames,
    prepare_frame,
)


class LegacyRandom:
    """numpy's legacy stream behind the methods of a Generator that frame selection uses."""

    def __init__(self, seed):
        self.state = np.random.RandomState(seed)

    def integers(self, low, high, size=None):
        return self.state.randint(low, high, size)

    def permutation(self, values):
        return self.state.permutation(values)


class TorchRandom:
    """torch's stream (and Python's, for the choice to jitter) behind the methods of a Generator that transforms use."""

    def __init__(self, torch_seed, python_seed=None):
        self.torch = torch.Generator().manual_seed(torch_seed)
        self.python = random.Random(python_seed)

    def random(self):
        return self.python.random()

    def uniform(self, low, high):
        return torch.empty(1).uniform_(low, high, generator=self.torch).item()

    def integers(self, low, high):
        return torch.randint(low, high, (1,), generator=self.torch).item()

    def permutation(self, num):
        return torch.randperm(num, generator=self.torch).numpy()


@pytest.mark.parametrize("row", case_names("video", "frame_selection"))
def test_frame_selection(load_part, row):
    case = load_part("video").json["frame_selection"][row]
    if case["mode"] == "eval":
        got = eval_indices(case["frames"], SamplingConfig())
        assert case["contiguous"] and np.all(np.diff(got) == 1)
        assert (got[0], got[-1]) == (case["first"], case["last"]) if len(got) else case["first"] is None
        assert len(got) == case["valid_len"]
    elif case["mode"] == "train":
        config = SamplingConfig(tmin=case["tmin"], tmax=case["tmax"])
        got = train_indices(case["frames"], config, LegacyRandom(case["numpy_seed"]))
        assert got.tolist() == case["indices"]
        assert len(got) == case["valid_len"]
    else:
        assert case["mode"] == "train_extremes"
        lengths = [len(train_indices(case["frames"], SamplingConfig(), LegacyRandom(seed))) for seed in range(40)]
        # Where the published code selects nothing (one frame) or raises (0.5 x frames above the cap), ours selects.
        assert all(0 < length <= 400 and length % 4 == 0 for length in lengths)


@pytest.mark.parametrize("row", case_names("video", "train_crop_boxes"))
def test_random_crop_boxes(load_part, row):
    case = load_part("video").json["train_crop_boxes"][row]
    config = TransformConfig(crop_area=case["scale"], crop_aspect=case["ratio"])
    got = draw_box(case["H"], case["W"], config, TorchRandom(case["torch_seed"]))
    assert list(got) == case["top_left_height_width"]


@pytest.mark.parametrize("name", case_names("video", prefix="eval_"))
def test_evaluation_transform(load_part, name):
    part = load_part("video")
    config = _config(part, part.json["cases"][name]["transform_cfg"], pre_resize=None)
    _check_frames(part, name, evaluated(part.tensors[f"{name}/frames_uint8"], config)[None])


@pytest.mark.parametrize("name", case_names("video", prefix="train_"))
def test_training_transform_with_recorded_parameters(load_part, name):
    part = load_part("video")
    case = part.json["cases"][name]
    config = _config(part, "csl" if "csl" in name else "phoenix", pre_resize=None)
    jitter = tuple((kind, case["factors"][kind]) for kind in case.get("order", []))
    augmentation = Augmentation(tuple(case["box_top_left_height_width"]), jitter)
    _check_frames(part, name, augmented(part.tensors[f"{name}/frames_uint8"], augmentation, config)[None])


@pytest.mark.parametrize("name", case_names("video", prefix="train_"))
def test_training_parameters_drawn_from_the_recorded_seed(load_part, name):
    part = load_part("video")
    case = part.json["cases"][name]
    jittered = "factors" in case
    config = _config(part, "csl" if "csl" in name else "phoenix", jitter_probability=1.0 if jittered else 0.0)
    height, width = part.tensors[f"{name}/frames_uint8"].shape[1:3]
    got = draw_augmentation(height, width, config, TorchRandom(case["torch_seed"], case.get("python_seed")))
    assert list(got.box) == case["box_top_left_height_width"]
    assert [kind for kind, _ in got.jitter] == case.get("order", [])
    assert dict(got.jitter) == pytest.approx(case.get("factors", {}), abs=1e-7)


@pytest.mark.parametrize("cut", [False, True])
def test_resize_of_csl_pictures(load_part, cut):
    part = load_part("video")
    name = f"pil_resize/cut_{str(cut).lower()}"
    numbers = re.search(r"csl_resize=\[(\d+), (\d+)\]", part.json["tensors"][name]["meaning"])
    config = TransformConfig(pre_crop_top=80 if cut else 0, pre_resize=tuple(map(int, numbers.groups())))
    part.check(name, prepare_frame(part.tensors["pil_resize/frame_uint8"][0], config))


@pytest.mark.parametrize("name", case_names("video", prefix="zip_"))
def test_clips_from_an_archive(load_part, parity_dir, name):
    part = load_part("video")
    case = part.json["cases"][name]
    pattern = case["path_in_zip"].split(",")[0]
    config = _config(part, name.removeprefix("zip_"))
    clips = []
    part.file(case["file"])
    for clip, num_frames in zip(case["names"], case["num_frames"], strict=True):
        video = open_video(f"{case['file']}!{pattern.replace('<name>', clip)}", root=parity_dir)
        assert video.num_frames == num_frames
        clips.append(evaluated(video.read(eval_indices(video.num_frames, SamplingConfig())), config))
    frames, lengths = pad_frames(clips)
    part.check(f"{name}/lengths", lengths)
    _check_frames(part, name, frames)


def test_every_tensor_belongs_to_a_case_above(load_part):
    part = load_part("video")
    assert {name.split("/")[0] for name in part.outputs()} == {*part.json["cases"], "pil_resize"}
    assert all(name.startswith(("eval_", "train_", "zip_")) for name in part.json["cases"])


def _config(part, cfg, **changes):
    """TransformConfig of a set of published settings."""
    cfg = part.json["transform_cfg"][cfg]
    values = {
        "pre_resize": cfg.get("csl_resize"),
        "center_crop": cfg["center_crop_size"] if cfg["center_crop"] else None,
        "image_size": cfg["img_size"],
        "crop_area": (cfg["bottom_area"], 1.0),
        "crop_aspect": (cfg["aspect_ratio_min"], cfg["aspect_ratio_max"]),
    }
    return TransformConfig(**(values | changes))


def _check_frames(part, name, frames):
    """Compare (B, 3, T, H, W) with the stored time steps, and every frame with its stored sums."""
    steps = re.search(r"time steps (\[[\d, ]+\])", part.json["tensors"][f"{name}/frames"]["meaning"])
    part.check(f"{name}/frames", frames[:, :, [int(step) for step in re.findall(r"\d+", steps.group(1))]])
    wide = frames.double()
    part.check(f"{name}/frame_sums", torch.stack([wide.sum((3, 4)), wide.abs().sum((3, 4))], dim=-1))
    part.check_all_were_checked(f"{name}/")
