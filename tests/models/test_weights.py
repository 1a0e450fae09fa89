"""Checkpoints of other projects find their way into our S3D and visual head."""

import pytest
import torch

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.weights import convert_head_keys, convert_s3d_keys, load_s3d

# FACTS 3.5, one line of the table each.
PUBLISHED_TO_OURS = {
    "base.0.conv_s.weight": "features.0.0.0.weight",
    "base.3.bn_s.running_var": "features.3.0.1.running_var",
    "base.0.conv_t.weight": "features.0.1.0.weight",
    "base.3.bn_t.bias": "features.3.1.1.bias",
    "base.2.conv.weight": "features.2.0.weight",
    "base.2.bn.weight": "features.2.1.weight",
    "base.5.branch0.0.conv.weight": "features.5.branch0.0.weight",
    "base.5.branch0.0.bn.num_batches_tracked": "features.5.branch0.1.num_batches_tracked",
    "base.12.branch1.0.conv.weight": "features.12.branch1.0.0.weight",
    "base.12.branch2.0.bn.weight": "features.12.branch2.0.1.weight",
    "base.9.branch1.1.conv_s.weight": "features.9.branch1.1.0.0.weight",
    "base.9.branch2.1.bn_s.weight": "features.9.branch2.1.0.1.weight",
    "base.15.branch1.1.conv_t.weight": "features.15.branch1.1.1.0.weight",
    "base.15.branch2.1.bn_t.running_mean": "features.15.branch2.1.1.1.running_mean",
    "base.6.branch3.1.conv.weight": "features.6.branch3.1.0.weight",
    "base.6.branch3.1.bn.weight": "features.6.branch3.1.1.weight",
}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "recognition_network.visual_backbone.backbone."])
def test_published_names_become_ours(prefix):
    state = {prefix + published: published for published in PUBLISHED_TO_OURS}
    assert convert_s3d_keys(state) == {ours: published for published, ours in PUBLISHED_TO_OURS.items()}
    assert set(PUBLISHED_TO_OURS.values()) <= set(S3D(S3DConfig(use_blocks=5, width=0.125)).state_dict())


@pytest.mark.parametrize("prefix", ["", "s3d.", "module.s3d."])
def test_torchvisions_and_our_own_names_stay(prefix):
    state = {f"{prefix}features.2.0.weight": 1, f"{prefix}classifier.1.weight": 2, "head.fc1.weight": 3}
    assert convert_s3d_keys(state) == {"features.2.0.weight": 1}


def test_checkpoint_of_something_else_is_refused():
    with pytest.raises(SltError, match=r"holds no S3D trunk.*got fc\.weight"):
        convert_s3d_keys({"fc.weight": 1})
    with pytest.raises(SltError, match="holds no visual head"):
        convert_head_keys({"fc.weight": 1})
    with pytest.raises(SltError, match=r"unknown S3D entry base\.0\.gate\.weight"):
        convert_s3d_keys({"base.0.gate.weight": 1})


def test_four_blocks_are_loaded_from_five():
    torch.manual_seed(0)
    five, four = S3D(S3DConfig(use_blocks=5, width=0.125)), S3D(S3DConfig(use_blocks=4, width=0.125))
    load_s3d(four, {f"s3d.{key}": value for key, value in five.state_dict().items()})
    given = five.state_dict()
    assert all(torch.equal(value, given[key]) for key, value in four.state_dict().items())


def test_old_checkpoint_without_counters_is_loaded():
    model = S3D(S3DConfig(width=0.125))
    state = {k: v + 1 for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_s3d(model, state)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_missing_and_misshapen_entries_are_refused_and_nothing_is_loaded():
    model, wide = S3D(S3DConfig(width=0.125)), S3D(S3DConfig(width=0.5))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {key: value + 1 for key, value in before.items()}
    del state["features.12.branch3.1.0.weight"]
    with pytest.raises(SltError, match=r"no entry for features\.12\.branch3\.1\.0\.weight"):
        load_s3d(model, state)
    with pytest.raises(
        SltError, match=r"features\.0\.0\.0\.weight has shape \(32, 3, 1, 7, 7\).*\(8, 3, 1, 7, 7\) here"
    ):
        load_s3d(model, wide.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_head_names_lose_their_prefix_and_the_table_of_positions():
    state = {"recognition_network.visual_head.fc1.weight": 1, "recognition_network.visual_head.pe.pe": 2, "other": 3}
    assert convert_head_keys(state) == {"fc1.weight": 1}
