"""The published data sets and weights as one has them: names and formats are real, pictures and numbers random.

Annotations are the shortest clips of the real ones; frames have their size (FACTS 1.6), mBART its 12+12 layers and S3D
its full width. What is small: how many clips there are, and how wide mBART is.
"""

import gzip
import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from PIL import Image
from published_weights import s3d_as_published
from safetensors.torch import save_file
from transformers import MBartConfig, MBartForConditionalGeneration

from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.corpora.pickles import read_pickle
from slt_pipeline.models.s3d import S3D
from slt_pipeline.text.tokenizer import Tokenizer

CLIPS = {"train": 8, "dev": 2, "test": 2}
PHOENIX = "data/phoenix14t/PHOENIX-2014-T/features/fullFrame-210x260px"
CSL = "data/csl_daily/CSL-Daily/sentence/frames_512x512"
TIED = ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")


def lay_out_phoenix(root: Path, shared: Path) -> None:
    """PHOENIX-2014T: the cleaned annotations, RWTH's folder of frames, and mBART with a piece for all its words."""
    for split in CLIPS:
        name = f"phoenix-2014t_cleaned.{split}"
        chosen = _annotate(root / "annotations" / name, shared / "phoenix-2014t" / name, split)
        for record in chosen:
            _draw(root / PHOENIX / record["name"], "images%04d.png", (210, 260), range(1, record["num_frames"] + 1))
    real = shared / "mbart_trimmed_spm" / "sentencepiece.bpe.model"
    _mbart(root / "mbart-large-cc25", real.read_bytes())


def lay_out_csl(root: Path, shared: Path) -> None:
    """CSL-Daily: its annotations, USTC's folder of frames, and an mBART that has its characters."""
    lines = []
    for split in CLIPS:
        name = f"csl-daily.{split}"
        chosen = _annotate(root / "annotations" / name, shared / "csl-daily" / name, split)
        for record in chosen:
            _draw(root / CSL / record["name"], "%06d.jpg", (512, 512), range(record["num_frames"]))
        lines += [text for record in chosen for text in (record["text"], record["gloss"])]
    _mbart(root / "mbart-large-cc25", _pieces(lines))


def lay_out_s3d(root: Path) -> None:
    """S3D of Kinetics-400 and WLASL as it was given away: five blocks under `backbone.base.` (FACTS 3.4)."""
    torch.manual_seed(4)
    trunk = S3D(S3DConfig(use_blocks=5)).state_dict()
    torch.save({"state_dict": s3d_as_published(trunk, "backbone."), "epoch": 7}, root / "wlasl.pth.tar")


def _annotate(path: Path, real: Path, split: str) -> list[dict]:
    """Write the shortest clips in the real file's format: a gzip pickle of dicts with a tensor in each (FACTS 1.1)."""
    enough = [r for r in read_pickle(real) if 2 * len(r["gloss"].split()) <= r["num_frames"] // 4]
    chosen = sorted(enough, key=lambda record: (record["num_frames"], record["name"]))[: CLIPS[split]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb") as file:
        pickle.dump([{**record, "sign": torch.zeros(record["sign"].shape)} for record in chosen], file)
    return chosen


def _draw(folder: Path, name: str, size: tuple[int, int], numbers: Sequence[int]) -> None:
    """Pictures of a size (width, height): a bright square that moves."""
    folder.mkdir(parents=True)
    for place, number in enumerate(numbers):
        frame = np.full((size[1], size[0], 3), 40, np.uint8)
        frame[60 + 4 * place : 100 + 4 * place, 60:120] = (220, 180, 90)
        Image.fromarray(frame).save(folder / (name % number), compress_level=1)


def _pieces(lines: Sequence[str]) -> bytes:
    out = io.BytesIO()
    settings: dict[str, Any] = {"model_type": "unigram", "vocab_size": 200, "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line.lower() for line in lines]), model_writer=out, character_coverage=1.0, **settings
    )
    return out.getvalue()


def _mbart(folder: Path, model: bytes) -> None:
    """A whole mBART folder: as many layers and heads as published, 32 wide."""
    folder.mkdir()
    settings: dict[str, Any] = {
        f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _SIZES.items()
    }
    config = MBartConfig(vocab_size=Tokenizer(model).vocab_size, d_model=32, scale_embedding=True, **settings)
    torch.manual_seed(5)
    state = MBartForConditionalGeneration(config).state_dict()
    state = {name: value.contiguous() for name, value in state.items() if name not in TIED}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    (folder / "sentencepiece.bpe.model").write_bytes(model)


_SIZES = {"layers": 12, "attention_heads": 16, "ffn_dim": 64}
