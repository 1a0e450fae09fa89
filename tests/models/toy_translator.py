"""A translator at the smallest size that is still the real one, and twelve sentences for it."""

import torch

from slt_pipeline.config.encoder import EncoderConfig, HeadConfig, S3DConfig
from slt_pipeline.config.taps import TAPS
from slt_pipeline.config.translator import CVSLTConfig, GPT2Config, MapperConfig, MBartConfig, MMTLBConfig
from slt_pipeline.models.build import build_translator
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import Front, HeadFront, StoredTap, VideoFront, stream_widths
from slt_pipeline.models.translator import Translator
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.models.visual_head import VisualHead
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.train_tokenizer import train_tokenizer

PLACES, WEATHER = ("norden", "süden", "westen"), ("regen", "schnee", "sonne", "wind")
PAIRS = [((w.upper(), p.upper()), f"im {p} gibt es {w} .") for p in PLACES for w in WEATHER]
TOKENIZER = train_tokenizer([text for _, text in PAIRS])
GLOSSES = GlossVocabulary.build([glosses for glosses, _ in PAIRS], "translation")
CLASSES = GlossVocabulary.build([glosses for glosses, _ in PAIRS])
SMALL = MBartConfig(
    d_model=32,
    num_layers=1,
    num_heads=2,
    ffn_dim=64,
    max_positions=40,
    dropout=0,
    attention_dropout=0,
    position_std=0.2,
)
SMALL_GPT2 = GPT2Config(**{**SMALL.model_dump(), "num_layers": 2})
HEAD = HeadConfig(hidden=8, feedforward=16, dropout=0)
S3D = S3DConfig(width=0.03, freeze_blocks=1)
CHANNELS = 32  # of that S3D

Batch = dict[str, torch.Tensor]


def toy_translator(in_features=None, seed=0, vocabulary: GlossVocabulary | None = GLOSSES, **changes) -> Translator:
    torch.manual_seed(seed)
    system = CVSLTConfig if changes.get("system") == "cvslt" else MMTLBConfig
    config = system(**{"mbart": SMALL, "gpt2": SMALL_GPT2, **changes})
    return build_translator(config, TOKENIZER, vocabulary, in_features=in_features, class_names=CLASSES.names).eval()


def sign_to_text(front: str = "head", tap="gloss_rep", **changes) -> SignToText:
    """`front` is `stored`, `head` or `video`; the mapper reads `tap`."""
    mapper = MapperConfig(input=tap, **changes.pop("of_mapper", {}))
    width = stream_widths(CHANNELS, HEAD.hidden, len(CLASSES))[TAPS[tap].stream]
    return SignToText(_front(front, tap), toy_translator(width, mapper=mapper, **changes)).eval()


def _front(kind: str, tap) -> Front:
    torch.manual_seed(1)
    if kind == "stored":
        return StoredTap(TAPS[tap].stream)
    if kind == "head":
        return HeadFront(VisualHead(HEAD, CHANNELS, len(CLASSES)))
    return VideoFront(VisualEncoder(EncoderConfig(s3d=S3D, head=HEAD), len(CLASSES)))


def targets(texts) -> Batch:
    return TOKENIZER.encode_target(texts)._asdict()


def gloss_inputs(glosses) -> Batch:
    ids, lengths = pad_ids([GLOSSES.encode(row) for row in glosses], GLOSSES.pad_id)
    return {"gloss_input_ids": ids, "gloss_input_lengths": lengths}


def gloss_labels(glosses) -> Batch:
    labels, lengths = pad_ids([CLASSES.encode(row) for row in glosses], CLASSES.pad_id)
    return {"gloss_labels": labels, "gloss_label_lengths": lengths}
