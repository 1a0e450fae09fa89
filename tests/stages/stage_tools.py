"""What the tests of stages share."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from cache.seal import seal
from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.corpora.gloss_text import GlossTextDataset
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.training.checkpoint import best_checkpoint
from slt_pipeline.training.trainable import Trainable
from slt_pipeline.video.reader import open_video

CPU = torch.device("cpu")


class KilledError(BaseException):
    """Leaves the disk as SIGKILL does: nothing that cleans up catches it."""


def refusal(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(SltError) as found:
        call(*arguments, device="cpu", **options)
    assert "\n" not in str(found.value)
    return str(found.value)


def weights(recipe, stage: str) -> dict[str, torch.Tensor]:
    """The best ones of a stage."""
    return best_checkpoint(recipe.run_folder(stage), made_by="").weights


def change_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file in place."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def change_header(store: Path, change: Callable[[Any], Any]) -> None:
    """Change what a store says of itself."""
    header = json.loads((store / "store.json").read_bytes())
    del header["crc32"]
    change(header)
    (store / "store.json").write_bytes(seal(header, indent=1))


def change_clips(manifest: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Change fields of clips by id."""
    write_manifest(manifest, [replace(clip, **changes.get(clip.id, {})) for clip in read_manifest(manifest)])


def rows(report: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of an evaluation by task and split."""
    return {(row["task"], row["split"]): row for row in report["rows"]}


def write_video(path: Path, frames: np.ndarray, fps: int = 25) -> Path:
    """Write frames (T, H, W, 3) as an mp4."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "1"}
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def negative(path: Path) -> None:
    """Replace a video by its negative: the same name, the same length."""
    write_video(path, 255 - open_video(str(path), None).read())


def trainable_of(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> Trainable:
    """What a stage would train."""
    found: list[Trainable] = []

    def train(trainable: Trainable, *_: Any, **__: Any) -> None:
        found.append(trainable)
        raise KilledError

    monkeypatch.setattr("slt_pipeline.training.run.train", train)
    with pytest.raises(KilledError):
        call()
    return found[0]


def batch_of(trainable: Trainable, *numbers: int) -> dict[str, torch.Tensor]:
    """The batch of those items of the first epoch, of a stage that trains on the store or on glosses."""
    dataset = trainable.dataset
    assert isinstance(dataset, FeatureDataset | GlossTextDataset)
    return trainable.collate(dataset.__getitems__([(0, number) for number in numbers]))
