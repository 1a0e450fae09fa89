"""Configuration of the translation model: mBART, the mapper before it, its losses and its beam search."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from slt_pipeline.config.base import Config
from slt_pipeline.config.paths import LocationPath
from slt_pipeline.config.taps import TAPS, Stream, TapName


class MBartConfig(Config):
    """Where mBART comes from: a local Hugging Face folder, or from scratch in the size given here."""

    recorded: ClassVar[frozenset[str]] = frozenset({"folder"})  # what lies in it is hashed

    folder: LocationPath | None = None
    """Local Hugging Face folder (config.json, weights), pruned or whole; none: random weights in the sizes below."""
    d_model: int = Field(default=1024, gt=0)
    """Width; 1024 as published, 128 to 256 for a run on a CPU. A folder's own size wins over this and the next four."""
    num_layers: int = Field(default=12, gt=0)
    """Layers of the encoder, and of the decoder."""
    num_heads: int = Field(default=16, gt=0)
    """Attention heads."""
    ffn_dim: int = Field(default=4096, gt=0)
    """Width inside the feed-forward blocks."""
    max_positions: int = Field(default=1024, gt=2)
    """Longest source or target, in steps, language code and `</s>` included: rows of the learned position tables."""
    position_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the first position vectors where weights are random. 0.02 is mBART's; features and glosses
    enter times sqrt(d_model), beside which that is little: a small run from scratch learns order sooner with 0.2."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Dropout, in place of the folder's own (FACTS 6.1: 0.3 in every published stage)."""
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of the attention probabilities, in place of the folder's own (FACTS 6.1)."""
    freeze_text_embedding: bool = False
    """Keep the text embedding and so the tied output layer fixed: yes in the published Gloss2Text (FACTS 6.4)."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "MBartConfig":
        if self.d_model % self.num_heads:
            raise ValueError(f"d_model {self.d_model} is not a multiple of num_heads {self.num_heads}")
        return self


class MapperConfig(Config):
    """The V-L mapper: what it reads and how it brings that to mBART's width (FACTS 7)."""

    input: TapName = "gloss_rep"
    """What the mapper reads: the gloss representation, the gloss logits, their softmax, or pooled S3D features."""
    type: Literal["projection", "embedding"] = "projection"
    """`projection`: Linear-ReLU-Linear. `embedding`: a matrix of gloss vectors; probabilities average them."""
    hidden: int | None = Field(default=None, gt=0)
    """Width of the projection's hidden layers; none: mBART's width, as published."""
    num_hidden: int = Field(default=1, ge=0)
    """Hidden layers of the projection: 1 in the published code, 2 in the paper's text, 0 for a plain linear map."""
    freeze: bool = False
    """Keep the embedding mapper at its initial gloss vectors."""

    @model_validator(mode="after")
    def _embedding_reads_probabilities(self) -> "MapperConfig":
        averages = [name for name, tap in TAPS.items() if tap.activation == "softmax"]
        if self.type == "embedding" and self.input not in averages:
            raise ValueError(f"mapper type `embedding` needs input `{', '.join(averages)}`, not `{self.input}`")
        return self


class TranslatorConfig(Config):
    """mBART fed with mapped features or with glosses."""

    mbart: MBartConfig = MBartConfig()
    """The language model."""
    mapper: MapperConfig = MapperConfig()
    """The mapper before it; Gloss2Text has none and does not read this."""
    suffix: Literal["gls", "txt"] = "gls"
    """Rows appended to every source: `</s>` and source language of the gloss table (MMTLB), or `</s>` and target
    language of the text embedding (CV-SLT) (FACTS 6.5)."""
    gloss_table: Literal["pieces", "random"] = "pieces"
    """First values of the gloss table: `pieces`, the mean of each gloss's piece vectors (FACTS 6.1), or `random`.
    A `gloss_embeddings.bin` in mBART's folder holds the same means and is read in their place."""
    freeze_gloss_table: bool = False
    """Keep the gloss table fixed: yes in the published Gloss2Text (FACTS 6.4)."""
    label_smoothing: float = Field(default=0.2, ge=0, lt=1)
    """Probability mass spread over the wrong pieces (FACTS 6.3)."""
    head: Literal["stored", "trained"] = "stored"
    """`stored`: read the stored stream of `mapper.input`; no head is built. `trained`: read the stored `s3d`, run the
    visual head on it and train it, with CTC, as the published systems do (FACTS 8.3)."""

    @property
    def stream(self) -> Stream:
        """The stored stream that this translator reads."""
        return "s3d" if self.head == "trained" else TAPS[self.mapper.input].stream

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the losses that this system makes: what an objective weighs."""
        return ("translation", "recognition")


class GenerationConfig(Config):
    """Beam search (FACTS 6.6); the published settings per stage are in FACTS 8.2."""

    num_beams: int = Field(default=4, ge=1)
    """Beams; 1 is greedy."""
    max_length: int = Field(default=100, ge=2)
    """Longest output in pieces, the language code and `</s>` included."""
    length_penalty: float = 1.0
    """Exponent of the length by which a hypothesis' log-probability is divided."""
