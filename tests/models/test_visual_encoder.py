"""The visual encoder and the isolated-sign classifier whose backbone starts it."""

import pytest
import torch
import torch.nn.functional as F

from slt_pipeline.config.encoder import EncoderConfig, HeadConfig, S3DConfig
from slt_pipeline.models.visual_classifier import VisualClassifier
from slt_pipeline.models.visual_encoder import VisualEncoder

CONFIG = EncoderConfig(
    s3d=S3DConfig(width=0.125, freeze_blocks=0, norm_momentum=0.1),
    head=HeadConfig(hidden=16, feedforward=32),
)


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.randn(2, 3, 16, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def encoder() -> VisualEncoder:
    torch.manual_seed(0)
    return VisualEncoder(CONFIG, num_classes=7)


def test_shapes_and_lengths(encoder, frames):
    out = encoder(frames, torch.tensor([16, 9]))
    assert out.s3d.shape == (2, 4, 104)
    assert out.gloss_rep.shape == (2, 4, 16)
    assert out.gloss_logits.shape == (2, 4, 7)
    assert out.lengths.tolist() == [4, 2]


def test_gradient_reaches_the_pixels_and_every_parameter(encoder, frames):
    frames.requires_grad_()
    encoder(frames, torch.tensor([16, 9])).gloss_logits.log_softmax(-1)[..., 0].sum().backward()
    assert frames.grad is not None and frames.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_streams_of_features_are_what_the_whole_encoder_makes_of_full_clips(encoder, frames):
    encoder.eval()
    with torch.no_grad():
        out = encoder(frames, torch.tensor([16, 16]))
        streams = encoder.streams(out.s3d)
    assert list(streams) == ["s3d", "gloss_rep", "gloss_logits"]
    assert all(torch.equal(streams[name], getattr(out, name)) for name in streams)


def test_classifier_averages_valid_steps_only(frames):
    torch.manual_seed(0)
    model = VisualClassifier(CONFIG.s3d, num_classes=5).eval()
    frame_lengths = torch.tensor([16, 9])
    with torch.inference_mode():
        logits = model(frames, frame_lengths)
        features, lengths = model.s3d(frames, frame_lengths)
        pooled = torch.stack([clip[:length].mean(dim=0) for clip, length in zip(features, lengths, strict=True)])
        torch.testing.assert_close(logits, model.classifier(pooled))


def test_classifier_takes_a_clip_shorter_than_one_step(frames):
    model = VisualClassifier(CONFIG.s3d, num_classes=5).eval()
    with torch.inference_mode():
        assert model(frames, torch.tensor([16, 3])).isfinite().all()


def test_classifiers_backbone_starts_the_encoder(encoder, frames):
    torch.manual_seed(1)
    classifier = VisualClassifier(CONFIG.s3d, num_classes=5).eval()
    encoder.s3d.load_state_dict(classifier.s3d.state_dict())
    frame_lengths = torch.tensor([16, 16])
    encoder.eval()
    with torch.inference_mode():
        found = (s3d(frames, frame_lengths)[0] for s3d in (encoder.s3d, classifier.s3d))
        torch.testing.assert_close(*found)


def test_classifier_learns_two_clips_apart(frames):
    torch.manual_seed(2)
    model = VisualClassifier(CONFIG.s3d, num_classes=2, dropout=0.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    labels, frame_lengths = torch.tensor([0, 1]), torch.tensor([16, 16])
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(model(frames, frame_lengths), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
