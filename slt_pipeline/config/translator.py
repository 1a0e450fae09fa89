"""Configuration of the translation model: language model, the mapper before it, its losses and its beam search."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from slt_pipeline.config.base import Config
from slt_pipeline.config.paths import LocationPath
from slt_pipeline.config.taps import TAPS, Stream, TapName
from slt_pipeline.errors import SltError

GlossForm = Literal["vectors", "pieces"]
Direction = Literal["gloss2text", "text2gloss"]
Beside = Literal["text2gloss", "backward"]
"""What a Gloss2Text may learn beside writing a text of glosses: its glosses of a text, and to write it backward."""
LanguageModelName = Literal["mbart", "gpt2"]
LANGUAGE_MODELS: dict[LanguageModelName, str] = {"mbart": "mBART", "gpt2": "GPT-2"}
"""What they are called."""


def system_of(translator: Any) -> str:
    """Return the tag of a translator's section, plain or read: its system, in brackets that keep it out of messages."""
    given = translator.get("system", "mmtlb") if isinstance(translator, Mapping) else getattr(translator, "system", "")
    return f"({given})"


class MBartConfig(Config):
    """Where mBART comes from: a local Hugging Face folder, or from scratch in the size given here."""

    recorded: ClassVar[frozenset[str]] = frozenset({"folder"})  # what lies in it is hashed

    folder: LocationPath | None = None
    """Local Hugging Face folder (config.json, weights), pruned or whole; none: random weights in the sizes below."""
    d_model: int = Field(default=1024, gt=0)
    """Width; 1024 as published, 128 to 256 for a run on a CPU. A folder's own size wins over this and the next four."""
    num_layers: int = Field(default=12, gt=0, le=1000)
    """Layers of the encoder, and of the decoder."""
    num_heads: int = Field(default=16, gt=0)
    """Attention heads."""
    ffn_dim: int = Field(default=4096, gt=0)
    """Width inside the feed-forward blocks."""
    max_positions: int = Field(default=1024, gt=2)
    """Longest source or target, in steps, language code and `</s>` included: rows of the learned position tables."""
    position_std: float = Field(default=0.02, gt=0, le=10)
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


class GPT2Config(MBartConfig):
    """Where a GPT-2 comes from, which reads glosses and writes the text behind them; the rest is as of mBART."""

    d_model: int = Field(default=768, gt=0)
    """Width; a folder's own size wins over this and the next four."""
    num_layers: int = Field(default=12, gt=0, le=1000)
    """Layers."""
    num_heads: int = Field(default=12, gt=0)
    """Attention heads."""
    ffn_dim: int = Field(default=3072, gt=0)
    """Width inside the feed-forward blocks."""
    max_positions: int = Field(default=1024, gt=2)
    """Longest source with its text behind it: rows of the learned position table."""
    position_std: float = Field(default=0.02, gt=0, le=10)
    """Standard deviation of the first position vectors where weights are random."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout, in place of the folder's own."""
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of the attention probabilities, in place of the folder's own."""


class MapperConfig(Config):
    """The V-L mapper: what it reads and how it brings that to mBART's width (FACTS 7)."""

    input: TapName = "gloss_rep"
    """What the mapper reads: the gloss representation, the gloss logits, their softmax, or pooled S3D features."""
    type: Literal["projection", "embedding"] = "projection"
    """`projection`: Linear-ReLU-Linear. `embedding`: a matrix of gloss vectors; probabilities average them."""
    hidden: int | None = Field(default=None, gt=0)
    """Width of the projection's hidden layers; none: mBART's width, as published."""
    num_hidden: int = Field(default=1, ge=0, le=100)
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
    """What all systems have: mBART fed with mapped features or with glosses. A recipe holds one of its subclasses."""

    recorded: ClassVar[frozenset[str]] = frozenset({"language_model", "gpt2"})  # of Gloss2Text alone, which lists them

    system: Literal["mmtlb", "cvslt"]
    """Which system translates; it decides which keys there are."""
    language_model: LanguageModelName = "mbart"
    """What writes the text: `mbart`; or `gpt2`, a decoder alone, which does Gloss2Text and reads no signs."""
    mbart: MBartConfig = MBartConfig()
    """The language model `mbart`."""
    gpt2: GPT2Config = GPT2Config()
    """The language model `gpt2`."""
    mapper: MapperConfig = MapperConfig()
    """The mapper before it; Gloss2Text has none and does not read this."""
    suffix: Literal["gls", "txt"] = "gls"
    """Rows appended to every source of signs: `</s>` and source language of the gloss table (MMTLB), or `</s>` and
    target language of the text embedding (CV-SLT) (FACTS 6.5). Glosses are always closed by the first."""
    gloss_input: GlossForm = "vectors"
    """How Gloss2Text reads a gloss: `vectors`, one of the gloss table (published code); or `pieces`, its sub-words
    through mBART's text embedding (paper), so that of the gloss table the suffix alone is used (FACTS 6.4, 13)."""
    direction: Direction = "gloss2text"
    """What Gloss2Text learns: `gloss2text`, the text of glosses; or `text2gloss`, the glosses of a text, which is read
    by its pieces: a judge of whether a text says what was signed (`evaluate.rerank`)."""
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

    text_parts: ClassVar[tuple[str, ...]]
    """Names of the losses that compare with the text: without one of them nothing learns to translate."""
    other_parts: ClassVar[tuple[str, ...]] = ()
    """Names of the system's further losses."""
    posterior_parts: ClassVar[tuple[str, ...]] = ()
    """Names of the losses that read the posterior; none of a system without one."""
    usual_objective: ClassVar[str]
    """Weights of all parts as published, as `-o translate_train.objective=` takes them."""

    @property
    def of_language_model(self) -> MBartConfig:
        """The section of the language model that is named."""
        return self.gpt2 if self.language_model == "gpt2" else self.mbart

    @property
    def stream(self) -> Stream:
        """The stored stream that this translator reads."""
        return "s3d" if self.head == "trained" else TAPS[self.mapper.input].stream

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the losses that this system makes: what an objective weighs."""
        return (*self.text_parts, *self.other_parts, "recognition")

    @model_validator(mode="after")
    def _texts_are_read_by_pieces(self) -> "TranslatorConfig":
        if self.direction == "text2gloss" and self.gloss_input != "pieces":
            raise ValueError(
                f"direction is text2gloss and gloss_input {self.gloss_input}: a text is read by its pieces, set "
                "gloss_input to pieces"
            )
        return self

    def require_reads_signs(self) -> None:
        """Refuse what is no translator of signs.

        Raises:
            SltError: its language model has no encoder for them, or writes glosses.
        """
        if self.direction == "text2gloss":
            raise SltError(
                "translator.direction is text2gloss, which reads texts and writes glosses (`slt gloss2text-train`, "
                "`slt evaluate --task text2gloss`); signs are translated with translator.direction=gloss2text"
            )
        if self.language_model == "gpt2":
            raise SltError(
                "translator.language_model is gpt2, which reads glosses alone (`slt gloss2text-train`, "
                "`slt evaluate --task gloss2text`); signs are translated with translator.language_model=mbart"
            )


class MMTLBConfig(TranslatorConfig):
    """MMTLB: mBART reads the mapped features (FACTS 6, 7)."""

    system: Literal["mmtlb"] = "mmtlb"  # pyright: ignore[reportIncompatibleVariableOverride]: frozen
    """MMTLB (CVPR 2022)."""

    text_parts = ("translation",)
    usual_objective = "{translation: 1, recognition: 1}"


class CVSLTConfig(TranslatorConfig):
    """CV-SLT: between mBART's encoder and decoder a conditional variational bridge (FACTS 9)."""

    system: Literal["cvslt"] = "cvslt"  # pyright: ignore[reportIncompatibleVariableOverride]: frozen
    """CV-SLT (AAAI 2024)."""
    suffix: Literal["gls", "txt"] = "txt"
    """As in MMTLB; published: `txt`."""
    latent: int = Field(default=64, gt=0)
    """Width of the latent variable of each source step."""
    attention: Literal["shared", "separate"] = "shared"
    """Whether one attention serves the prior and the posterior, or each has its own (FACTS 9.2)."""
    posterior: Literal["residual", "absolute"] = "residual"
    """`residual`: the posterior's mean and log-variance are the prior's plus a change (FACTS 9.2); `absolute`: its own,
    the paper's ablation "w/o ARGD"."""
    combine: Literal["prefix", "postfix", "none"] = "prefix"
    """Where the layer norm stands when the latent u joins the encoder states H: H + LN(u) (PHOENIX), LN(H + u)
    (CSL-Daily), H + u (FACTS 9.2)."""
    noise: Literal["independent", "shared"] = "independent"
    """Noise of the prior's and the posterior's sample: drawn apart, as in the published code, or once for both, as in
    the paper (FACTS 9.7)."""
    kl_mask: Literal["none", "valid"] = "none"
    """Steps and positions that both KLs sum over: `none`, all of them, padding too, as published, so that a clip's loss
    depends on its batch mates; `valid`: those that are not padding (FACTS 9.3)."""
    distillation: Literal["symmetric", "to_prior", "to_prior_detached"] = "symmetric"
    """The output KL: the mean of both directions (published code); KL(posterior || prior) (the paper's equation 14);
    the same with a posterior that is taken as given, so that only the prior learns from it (FACTS 9.3, 9.7)."""
    text_positions: Literal["after_padding", "after_valid"] = "after_padding"
    """Where the text of the posterior path stands behind the signs: behind their padding, as published, so that its
    positions depend on the longest clip of the batch; or right behind each clip's own steps (FACTS 9.1)."""
    passes: Literal["apart", "decoder", "together"] = "apart"
    """What runs as one batch in training: nothing; the two decoder passes; or these, and the two encoder passes, for
    which signs alone are padded by the length of the text. Losses are the same up to rounding, dropout draws otherwise.
    On a CPU the decoder gains 3 to 9 % of a step, the encoder loses but in the smallest models (tests/benchmarks)."""

    text_parts = ("prior", "posterior")
    other_parts = ("gaussian_kl", "output_kl")
    posterior_parts = ("posterior", "gaussian_kl", "output_kl")
    usual_objective = (
        "{prior: 1, posterior: 1, gaussian_kl: {to: 1, over: 4000}, output_kl: {to: 3, over: 4000}, recognition: 0}"
    )


AnyTranslator = Annotated[
    Annotated[MMTLBConfig, Tag("(mmtlb)")] | Annotated[CVSLTConfig, Tag("(cvslt)")],
    Discriminator(system_of),
]
"""The system that a recipe names by `translator.system`."""
SYSTEMS: tuple[type[TranslatorConfig], ...] = (MMTLBConfig, CVSLTConfig)
"""All of them."""


class GenerationConfig(Config):
    """Beam search (FACTS 6.6); the published settings per stage are in FACTS 8.2."""

    num_beams: int = Field(default=4, ge=1, le=1000)
    """Beams; 1 is greedy."""
    max_length: int = Field(default=100, ge=2)
    """Longest output in pieces, the language code and `</s>` included."""
    length_penalty: float = Field(default=1.0, ge=-10, le=10)
    """Exponent of the length by which a hypothesis' log-probability is divided."""
    no_repeat_ngram_size: int = Field(default=0, ge=0)
    """So many pieces in a row are written once in a text, so that none runs in a loop; 0: as often as is likeliest."""
