"""S3D against the published network: pooled features, lengths, taps, and a training pass with block 1 frozen."""

import pytest
import torch
from parity_data import case_names, check_checksum

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.models.s3d import BLOCK_ENDS, S3D
from slt_pipeline.models.visual_head import valid_mask
from slt_pipeline.models.weights import convert_s3d_keys, load_s3d


@pytest.fixture
def part(load_part):
    return load_part("s3d")


@pytest.fixture
def s3d(part) -> S3D:
    shapes = part.json["weights"]["shapes"]
    drawn = part.rules.params(part.json["weights"]["seed"], shapes, "conv")
    for key, sums in part.json["weights"]["checksum"].items():
        check_checksum(drawn[key], sums, part.rules, key)
    state = convert_s3d_keys({key: torch.from_numpy(value) for key, value in drawn.items()})
    last = max(int(key.split(".")[1]) for key in state)
    width = state["features.0.0.0.weight"].shape[0] / 64
    model = S3D(S3DConfig(use_blocks=BLOCK_ENDS.index(last + 1) + 1, freeze_blocks=1, width=width))
    load_s3d(model, state)
    return model


@pytest.mark.parametrize("case", case_names("s3d"))
def test_features_lengths_and_taps(part, s3d, case):
    frames = torch.from_numpy(part.tensors[f"{case}/x"])
    frame_lengths = torch.from_numpy(part.tensors[f"{case}/lengths"])
    s3d.eval()
    with torch.inference_mode():
        features, lengths = s3d(frames, frame_lengths)
        part.check(f"{case}/features", features)
        part.check(f"{case}/valid_len_out", lengths)
        part.check(f"{case}/mask", valid_mask(lengths, features.shape[1]).unsqueeze(1))
        if part.outputs(f"{case}/tap"):
            for index, x in enumerate(s3d.elements(frames)):
                part.check(f"{case}/tap{index:02d}", x.mean(dim=(3, 4)))
    part.check_all_were_checked(f"{case}/")


def test_training_pass_updates_all_norms_but_those_of_the_frozen_block(part, s3d):
    frames = torch.from_numpy(part.tensors["train/x"])
    s3d.train()
    features, _ = s3d(frames, torch.full((len(frames),), frames.shape[2]))
    part.check("train/features", features)
    state = s3d.state_dict()
    published_names = [name.removeprefix("train/after/") for name in part.outputs("train/after/")]
    for ours, published in convert_s3d_keys({name: name for name in published_names}).items():
        part.check(f"train/after/{published}", state[ours])
    part.check_all_were_checked("train/")
