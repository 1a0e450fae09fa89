"""S3D, the convolutional backbone: frames to one feature vector for every four frames (FACTS 3)."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.video.s3d import SepInceptionBlock3D, TemporalSeparableConv
from torchvision.ops.misc import Conv3dNormActivation

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.batch_norm import BatchNorm3d, recomputing
from slt_pipeline.models.s3d_cpu import run_element

# Elements of the sequence `features` at which blocks 1 to 5 end (FACTS 3.1).
BLOCK_ENDS = (1, 4, 7, 13, 16)

# Output channels of an inception element: branch 0 | branch 1 middle -> out | branch 2 middle -> out | branch 3.
_INCEPTION = {
    5: (64, 96, 128, 16, 32, 32),
    6: (128, 128, 192, 32, 96, 64),
    8: (192, 96, 208, 16, 48, 64),
    9: (160, 112, 224, 24, 64, 64),
    10: (128, 128, 256, 24, 64, 64),
    11: (112, 144, 288, 32, 64, 64),
    12: (256, 160, 320, 32, 128, 128),
    14: (256, 160, 320, 32, 128, 128),
    15: (384, 192, 384, 48, 128, 128),
}


class S3D(nn.Module):
    """The first `use_blocks` blocks of S3D, averaged over height and width.

    Built from torchvision's own blocks, which compute exactly what the published network does (FACTS 3.5), and with
    torchvision's state-dict names: `features.<i>...`. `models.weights` maps other checkpoints onto them.
    """

    def __init__(self, config: S3DConfig):
        super().__init__()
        self.config = config
        elements, self.out_channels = _elements(config)
        self.features = nn.Sequential(*elements)
        for block in self._frozen_blocks():
            block.requires_grad_(False)
        self.train()

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return `features (B, S, C)` and their valid `lengths (B,)` = floor(frame_lengths * S / T).

        Steps beyond `lengths` are computed from padding frames and are not zero.

        Args:
            frames: (B, 3, T, H, W) float, normalised, padded in time.
            frame_lengths: (B,) valid frames of each clip.

        Raises:
            SltError: the frames have another layout or are too small.
        """
        features = self.pooled(frames)
        return features, output_lengths(frame_lengths, frames.shape[2], features.shape[1])

    def pooled(self, frames: Tensor) -> Tensor:
        """Return the features (B, S, C) of frames (B, 3, T, H, W), valid or not; raises as `forward` does."""
        return self.last(frames).mean(dim=(3, 4)).transpose(1, 2)

    def last(self, frames: Tensor) -> Tensor:
        """Return the output (B, C, S, height, width) of the last element; raises as `forward` does."""
        check_frames(frames, self.config.use_blocks)
        (x,) = deque(self.elements(frames), maxlen=1)  # an output is let go as soon as the next element has read it
        return x

    def elements(self, frames: Tensor) -> Iterator[Tensor]:
        """Yield the output of every element of `features` in turn, for frames (B, 3, T, H, W).

        The output of an element is (B, channels, time, height, width), which shrink from element to element.
        """
        on_cpu = frames.device.type == "cpu"
        x = frames.contiguous(memory_format=torch.channels_last_3d) if on_cpu else frames
        again = self.config.checkpoint_activations and self.training and torch.is_grad_enabled()
        for element in self.features:
            call = partial(run_element, element) if on_cpu else element
            x = _computed_again(call, x) if again else call(x)
            yield x

    def block(self, number: int) -> nn.Sequential:
        """Return block `number`, 1 to `use_blocks`: a view of `features`, sharing its modules.

        Raises:
            SltError: that block is not kept.
        """
        if not 1 <= number <= self.config.use_blocks:
            raise SltError(f"S3D has blocks 1 to {self.config.use_blocks}, not {number}: raise use_blocks")
        return self.features[(0, *BLOCK_ENDS)[number - 1] : BLOCK_ENDS[number - 1]]

    def train(self, mode: bool = True) -> "S3D":
        """Set training mode, except in frozen blocks: their batch norms always use the running statistics."""
        super().train(mode)
        for block in self._frozen_blocks():
            block.eval()
        return self

    def _frozen_blocks(self) -> list[nn.Sequential]:
        return [self.block(number) for number in range(1, self.config.freeze_blocks + 1)]


def output_lengths(frame_lengths: Tensor, num_frames: int, num_steps: int) -> Tensor:
    """Return valid steps (B,) int64: floor(frame_lengths * num_steps / num_frames), both padded (FACTS 2.4)."""
    return torch.div(frame_lengths * num_steps, num_frames, rounding_mode="floor").long()


def _computed_again(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Call without keeping what backward needs: it is computed once more when backward comes to it."""
    contexts = lambda: (nullcontext(), recomputing())  # noqa: E731
    return checkpoint(call, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


def _elements(config: S3DConfig) -> tuple[list[nn.Module], int]:
    """Build the kept elements in order, and return them with the channels of the last one."""
    norm = partial(BatchNorm3d, eps=1e-3, momentum=config.norm_momentum)

    def scaled(channels: int) -> int:
        return max(8, round(channels * config.width / 8) * 8)

    stem, wide = scaled(64), scaled(192)
    elements: list[nn.Module] = [
        TemporalSeparableConv(3, stem, 7, 2, 3, norm),
        nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        Conv3dNormActivation(stem, stem, kernel_size=1, norm_layer=norm),
        TemporalSeparableConv(stem, wide, 3, 1, 1, norm),
        nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
    ]
    channels = stem if config.use_blocks == 1 else wide
    for index in range(len(elements), BLOCK_ENDS[config.use_blocks - 1]):
        if index == 7:
            elements.append(nn.MaxPool3d(3, stride=2, padding=1))
        elif index == 13:
            elements.append(nn.MaxPool3d(2, stride=2))
        else:
            b0, b1_mid, b1, b2_mid, b2, b3 = (scaled(c) for c in _INCEPTION[index])
            elements.append(SepInceptionBlock3D(channels, b0, b1_mid, b1, b2_mid, b2, b3, norm))
            channels = b0 + b1 + b2 + b3
    return elements[: BLOCK_ENDS[config.use_blocks - 1]], channels


def check_frames(frames: Tensor, use_blocks: int) -> None:
    """Refuse frames of another layout than (B, 3, T, H, W), or too small for so many blocks.

    Raises:
        SltError: they are.
    """
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise SltError(f"frames must have shape (B, 3, T, H, W), got {tuple(frames.shape)}: put the colours second")
    smallest = (5, 17, 17) if use_blocks == 5 else (1, 1, 1)
    if any(have < need for have, need in zip(frames.shape[2:], smallest, strict=True)):
        have, need = ("x".join(map(str, size)) for size in (frames.shape[2:], smallest))
        raise SltError(
            f"frames of T x H x W {have} are too small for {use_blocks} blocks, which need {need}: enlarge them"
        )
