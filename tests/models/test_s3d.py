"""The S3D backbone: the published network at width 1, smaller ones, frozen blocks, exact CPU shortcuts."""

import pytest
import torch
from pydantic import ValidationError
from torchvision.models.video import s3d as torchvision_s3d

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.s3d import S3D

SMALL = S3DConfig(width=0.125, freeze_blocks=0, norm_momentum=0.1)


def test_sizes_are_the_published_ones():
    def size(model):
        return sum(parameter.numel() for parameter in model.parameters())

    assert size(S3D(S3DConfig())) == 4_734_272
    assert size(S3D(S3DConfig(use_blocks=5))) == 7_910_048
    assert size(S3D(S3DConfig()).block(1)) == 38_336
    assert [S3D(S3DConfig(use_blocks=n)).out_channels for n in range(1, 6)] == [64, 192, 480, 832, 1024]


def test_names_are_torchvisions_in_its_order():
    theirs = [key for key in torchvision_s3d().state_dict() if key.startswith("features.")]
    assert list(S3D(S3DConfig(use_blocks=5)).state_dict()) == theirs


def test_output_is_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision_s3d().eval()
    ours = S3D(S3DConfig(use_blocks=5)).eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if k.startswith("features.")})
    frames = torch.randn(2, 3, 9, 33, 40)
    with torch.inference_mode():
        features, _ = ours(frames, torch.tensor([9, 5]))
        want = theirs.features(frames).mean(dim=(3, 4)).transpose(1, 2)
    torch.testing.assert_close(features, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_cpu_path_has_the_plain_modules_values_gradients_and_statistics(training):
    torch.manual_seed(1)
    plain, fast = (S3D(SMALL.model_copy(update={"use_blocks": 5})).double().train(training) for _ in range(2))
    fast.load_state_dict(plain.state_dict())
    frames = torch.randn(2, 3, 13, 34, 37, dtype=torch.float64)
    inputs = [frames.clone().requires_grad_() for _ in range(2)]
    outputs = [plain.features(inputs[0]), list(fast.elements(inputs[1]))[-1]]
    for output in outputs:
        output.square().sum().backward()

    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for (name, want), got in zip(plain.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(got.grad, want.grad, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(fast.state_dict(), plain.state_dict())


@pytest.mark.parametrize(("num_frames", "num_steps"), [(4, 1), (8, 2), (10, 3), (13, 4), (64, 16), (400, 100)])
def test_steps_of_a_clip(num_frames, num_steps):
    with torch.inference_mode():
        features, lengths = S3D(SMALL).eval()(torch.zeros(1, 3, num_frames, 16, 16), torch.tensor([num_frames]))
    assert features.shape == (1, num_steps, 104)
    assert lengths.tolist() == [num_steps]


def test_valid_steps_depend_on_the_padding():
    def valid(num_frames):
        return S3D(SMALL)(torch.zeros(2, 3, num_frames, 16, 16), torch.tensor([num_frames, 5]))[1].tolist()

    assert valid(8) == [2, 1]
    assert valid(10) == [3, 1]
    assert valid(5) == [2, 2]


def test_frozen_block_never_changes():
    torch.manual_seed(2)
    model = S3D(S3DConfig(width=0.125, freeze_blocks=1)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 3, 8, 32, 32), torch.tensor([8, 8]))[0].square().mean().backward()
    optimiser.step()

    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert {key for key in before if key.startswith("features.0.")}.isdisjoint(changed)
    assert {key for key in before if not key.startswith("features.0.")} == changed
    assert not any(module.training for module in model.features[0].modules())
    assert all(module.training for module in model.features[3].modules())


def test_width_scales_channels_in_steps_of_eight():
    half = S3D(S3DConfig(width=0.5))
    assert half.out_channels == 416
    assert S3D(S3DConfig(width=0.01)).out_channels == 4 * 8
    assert all(p.shape[0] % 8 == 0 for p in S3D(S3DConfig(width=0.3)).parameters())


def test_norms_are_the_published_ones():
    norms = [m for m in S3D(S3DConfig()).modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.001)}


def test_frames_with_the_colours_last_are_refused():
    with pytest.raises(SltError, match=r"\(B, 3, T, H, W\), got \(1, 8, 16, 16, 3\)"):
        S3D(SMALL)(torch.zeros(1, 8, 16, 16, 3), torch.tensor([8]))


def test_empty_and_too_small_clips_are_refused():
    with pytest.raises(SltError, match="0x16x16 are too small for 4 blocks, which need 1x1x1"):
        S3D(SMALL)(torch.zeros(1, 3, 0, 16, 16), torch.tensor([0]))
    with pytest.raises(SltError, match="4x32x32 are too small for 5 blocks, which need 5x17x17"):
        S3D(S3DConfig(width=0.125, use_blocks=5))(torch.zeros(1, 3, 4, 32, 32), torch.tensor([4]))
    S3D(S3DConfig(width=0.125, use_blocks=5)).eval()(torch.zeros(1, 3, 5, 17, 17), torch.tensor([5]))


def test_block_that_is_not_kept_is_refused():
    with pytest.raises(SltError, match="blocks 1 to 4, not 5"):
        S3D(SMALL).block(5)


@pytest.mark.parametrize(
    "wrong", [{"use_blocks": 6}, {"use_blocks": 0}, {"width": 0}, {"use_blocks": 2, "freeze_blocks": 3}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        S3DConfig(**wrong)
