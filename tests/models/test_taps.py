"""Taps: what is read of the visual stack, by the one table."""

import pytest
import torch
from toy_translator import CHANNELS, CLASSES, HEAD, S3D

from slt_pipeline.config.encoder import EncoderConfig
from slt_pipeline.config.taps import STREAMS, TAPS
from slt_pipeline.errors import SltError
from slt_pipeline.models.taps import HeadFront, StoredTap, Taps, VideoFront, stream_widths
from slt_pipeline.models.visual_encoder import VisualEncoder


def test_a_tap_is_its_stream_and_only_gloss_probs_goes_through_a_softmax():
    streams = {name: torch.randn(2, 3, 4) for name in STREAMS}
    taps = Taps(**streams, lengths=torch.tensor([3, 2]))
    for name, stream in (("s3d", "s3d"), ("gloss_rep", "gloss_rep"), ("gloss_logits", "gloss_logits")):
        assert taps[name] is streams[stream]
    assert torch.equal(taps["gloss_probs"], streams["gloss_logits"].softmax(-1))


def test_probabilities_are_of_all_classes_the_blank_included():
    taps = Taps(None, None, torch.tensor([[[0.0, 3.0]]]).log1p(), torch.tensor([1]))
    torch.testing.assert_close(taps["gloss_probs"], torch.tensor([[[0.2, 0.8]]]))


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stored_tap_has_its_stream_as_float32_and_no_other(stream):
    features, lengths = torch.randn(2, 3, 4).half(), torch.tensor([3, 2])
    taps = StoredTap(stream)({"features": features, "lengths": lengths})
    for name, tap in TAPS.items():
        if tap.stream == stream:
            assert taps[name].dtype == torch.float32
        else:
            with pytest.raises(SltError, match=rf"tap {name} is made of the stream {tap.stream}, and only {stream} is"):
                taps[name]
    assert taps.lengths is lengths


def test_all_fronts_agree_where_they_meet():
    torch.manual_seed(0)
    encoder = VisualEncoder(EncoderConfig(s3d=S3D, head=HEAD), len(CLASSES)).eval()
    frames = {"frames": torch.rand(2, 3, 24, 32, 32), "frame_lengths": torch.tensor([24, 20])}
    with torch.no_grad():
        video = VideoFront(encoder)(frames)
        head = HeadFront(encoder.head)({"features": video["s3d"], "lengths": video.lengths})
        for name in TAPS:
            assert torch.equal(head[name], video[name])
            stored = StoredTap(TAPS[name].stream)(
                {"features": getattr(video, TAPS[name].stream), "lengths": video.lengths}
            )
            assert torch.equal(stored[name], video[name])
            assert video[name].shape[2] == stream_widths(CHANNELS, HEAD.hidden, len(CLASSES))[TAPS[name].stream]
