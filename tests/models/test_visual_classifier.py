"""The published classifier of S3D: torchvision's logits, and what padding and small frames do to it."""

import pytest
import torch
from torchvision.models.video import s3d as torchvision_s3d

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.models.s3d import S3D
from slt_pipeline.models.visual_classifier import PublishedClassifier, build_classifier
from slt_pipeline.models.weights import load_s3d

PUBLISHED = S3DConfig(use_blocks=5, freeze_blocks=0)
SMALL = S3DConfig(use_blocks=5, width=0.125, freeze_blocks=0, norm_momentum=0.1)


def _loaded(state, num_classes) -> PublishedClassifier:
    ours = PublishedClassifier(PUBLISHED, num_classes).eval()
    load_s3d(ours.s3d, state)
    last = {key.rpartition(".")[2]: value for key, value in state.items() if "classifier.1." in key or "fc.0." in key}
    ours.classifier[1].load_state_dict(last)
    return ours


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return torchvision_s3d(num_classes=11).eval()


def test_logits_are_torchvisions(theirs):
    frames = torch.randn(1, 3, 21, 209, 241)  # of S3D come 3 x 7 x 8: two windows in time and in width
    with torch.inference_mode():
        ours = _loaded(theirs.state_dict(), 11)
        torch.testing.assert_close(ours(frames, torch.tensor([21])), theirs(frames), atol=1e-5, rtol=1e-5)


def test_the_last_layer_has_the_names_and_shapes_of_torchvision_and_of_the_published_kinetics_weights(theirs):
    names = {name: value.shape for name, value in theirs.state_dict().items() if name.startswith("classifier")}
    ours = PublishedClassifier(PUBLISHED, 11).state_dict()
    assert {name: value.shape for name, value in ours.items() if name.startswith("classifier")} == names
    assert names["classifier.1.weight"] == (11, 1024, 1, 1, 1)  # `fc.0.weight` in the file of FACTS 3.4
    assert theirs.classifier[0].p == 0.2 == PublishedClassifier(PUBLISHED, 11).classifier[0].p


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(1)
    return PublishedClassifier(SMALL, 5).eval()


def test_windows_that_reach_into_padding_are_no_part_of_the_mean(small):
    frames = torch.randn(2, 3, 40, 32, 32)
    with torch.inference_mode():
        logits = small(frames, torch.tensor([40, 24]))
        steps = small.s3d.features(frames).mean(dim=(3, 4)).transpose(1, 2)  # 5 of 40 frames, 3 of 24; one position
        windows = small.classifier[1]((steps[:, :-1] + steps[:, 1:]).transpose(1, 2)[..., None, None] / 2)
        want = torch.stack([windows[0, :, :4].mean((1, 2, 3)), windows[1, :, :2].mean((1, 2, 3))])
    torch.testing.assert_close(logits, want)


def test_a_clip_and_a_frame_smaller_than_the_window_have_logits(small):
    with torch.inference_mode():
        assert small(torch.randn(1, 3, 8, 32, 32), torch.tensor([4])).isfinite().all()


@pytest.mark.parametrize("pool", ["mean", "published"])
def test_sign2gloss_takes_the_first_four_of_five_blocks_whichever_the_classifier(pool):
    torch.manual_seed(2)
    five = build_classifier(pool, SMALL, 5, 0.0)
    four = S3D(SMALL.model_copy(update={"use_blocks": 4}))
    load_s3d(four, five.state_dict())
    given = five.s3d.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in four.state_dict().items())
    assert {name for name in given if name not in four.state_dict()} == {
        n for n in given if n.split(".")[1] in ("14", "15")
    }
