"""One section per command that computes; each shares its name with the command, its file and its run folder."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from slt_pipeline.config.base import Config
from slt_pipeline.config.encoder import S3DConfig
from slt_pipeline.config.names import ScoreName
from slt_pipeline.config.objective import Weight
from slt_pipeline.config.paths import Location
from slt_pipeline.config.rerank import RerankConfig
from slt_pipeline.config.search import SearchConfig, refuse_twice
from slt_pipeline.config.taps import STREAMS, TAPS, Stream
from slt_pipeline.config.training import OptimiserConfig, ScheduleConfig, TrainingConfig
from slt_pipeline.config.translator import Beside, Direction, GenerationConfig

TASKS = ("sign2gloss", "gloss2text", "sign2gloss2text", "sign2text")
Task = Literal["sign2gloss", "gloss2text", "sign2gloss2text", "sign2text", "text2gloss"]
FeaturesIn = Literal["files", "memory", "auto", "device"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class ViewsConfig(Config):
    """Clips of one length, cut from videos of any: what a general-domain classifier is trained and tested on."""

    frames: int = Field(default=64, ge=4)
    """Consecutive frames of a clip. Training takes them from a random place; a video that has fewer is repeated."""
    views: int = Field(default=1, ge=1)
    """Validation: clips of a video, evenly spaced from its first frame to its last; 1: the middle one. The scores of
    all (softmax) are averaged."""
    crops: Literal[1, 3] = 1
    """Validation: squares of each clip; 1: the middle, as `video.transform` says; 3: those at both ends of the longer
    side too, as large as `video.transform.center_crop`, or as the shorter side where that is null."""


class VisualPretrainConfig(Config):
    """Isolated-sign or action classification of the S3D trunk."""

    training: TrainingConfig = TrainingConfig()
    """The training run."""
    use_blocks: int | None = Field(default=None, ge=1, le=5)
    """Blocks of S3D that are trained; None: those of `encoder.s3d`. Published: all five, of which Sign2Gloss takes the
    first four (FACTS 0)."""
    pool: Literal["mean", "published"] = "mean"
    """Between S3D and the classifier: `mean` over the clip and a batch norm, which learns from scratch within minutes;
    or `published`, the average pool and the convolution of S3D's own classifier (FACTS 3.5)."""
    clip: ViewsConfig | None = None
    """Clips of one length, random in training; None: whole videos, sampled as `video.sampling` says."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the classifier."""
    also: tuple[str, ...] = ()
    """Fields of the clips' `extra`, such as `mouth`, that are classified beside the gloss: what a dictionary says of a
    sign but a gloss does not, so that the features keep it for the translator."""
    also_weight: float = Field(default=0.3, ge=0)
    """Weight of the loss of each of these fields; the gloss's is 1."""
    init: Location | None = None
    """Weights to start from: a file of `slt weights import`, another safetensors file with S3D's parameters, or the
    folder of a run with an S3D; None: random."""

    def trunk(self, s3d: S3DConfig) -> S3DConfig:
        """Return the S3D that is pre-trained for an encoder's: nothing is frozen, and it may have more blocks.

        What is frozen is for the stages that start from these weights.
        """
        return s3d.model_copy(update={"freeze_blocks": 0, "use_blocks": self.use_blocks or s3d.use_blocks})


class VisualTrainConfig(Config):
    """Sign2Gloss: the visual encoder, trained with CTC."""

    training: TrainingConfig = TrainingConfig()
    """The training run."""
    init: Location | None = "visual_pretrain"
    """Weights to start from: `visual_pretrain` (the best checkpoint of that stage); a file of `slt weights import`, or
    another safetensors file with S3D's parameters; the folder of a run, of which an encoder is taken whole, with head
    and classifier; or None."""
    vocabulary: Location | None = None
    """Table of gloss classes in their order, such as the published one of weights that `init` names: a pickle or JSON
    gloss -> class, or the `glosses.json` of a run. Other glosses become `<unk>`. None: those of vocabulary_splits."""
    vocabulary_splits: tuple[str, ...] = Field(default=("train",), min_length=1)
    """Splits whose glosses become classes; published: train, dev and test (FACTS 1.5)."""
    beam_size: int = Field(default=1, ge=0, le=1000)
    """CTC beams of validation; 0: best path; published: 1."""
    max_infeasible: float = Field(default=0.05, ge=0, le=1)
    """Largest share of training clips with more glosses than CTC can emit; beyond it the run does not start."""
    times: Literal["stroke", "sign", "spike"] = "stroke"
    """What the start and end of a gloss are those of: the `stroke`, without the way to it; the whole `sign`, with it,
    as in PHOENIX's frame labels, where hardly a frame belongs to no sign; or the `spike` of CTC, well before the sign,
    as published systems have them. The first two are learned from the training clips at the end of visual-train and of
    joint-train, which costs about three times their extraction. No other number depends on it."""


class ExtractConfig(Config):
    """Video to feature store."""

    streams: tuple[Stream, ...] = Field(default=STREAMS, min_length=1)
    """What to store per step."""
    backend: Literal["zarr", "hdf5"] = "zarr"
    """File format of the store."""
    dtype: Literal["float16", "float32"] = "float16"
    """Number format of the store."""
    compression: Literal["none", "blosc", "zstd", "gzip"] = "none"
    """`blosc` or `zstd` with zarr, `gzip` with hdf5; `none` is read fastest (cache/README.md has sizes and times)."""
    keep_bits: int | None = Field(default=None, ge=1, le=23)
    """With compression: bits of the mantissa to keep, of float16's 10 or float32's 23; None: all, nothing is lost."""
    shard_clips: int = Field(default=64, ge=1)
    """Clips committed at once: what a kill can cost."""
    num_workers: int | None = Field(default=None, ge=0, le=1024)
    """What decodes ahead: so many processes for a GPU, threads beside a CPU; 0: nothing. None: as many as keep a GPU
    busy (at most 8), or one thread."""
    store: Location | None = None
    """Folder of the store, or the URL of a copy that is only read (`s3://...`); None: runs/<recipe>/features."""

    @model_validator(mode="after")
    def _rounded_only_to_compress(self) -> "ExtractConfig":
        if self.keep_bits is not None and self.compression == "none":
            raise ValueError(
                f"keep_bits is {self.keep_bits} and compression is none: rounding alone saves nothing, "
                "choose a compression or set keep_bits to null"
            )
        return self


class RegulariseConfig(Config):
    """Noise of training, and agreement in spite of it; published: none beside dropout."""

    agreement: float = Field(default=0.0, ge=0)
    """Weight of the divergence between two passes of a batch with other dropout (R-Drop; about 2), which takes twice
    the time; 0: one pass."""
    distillation: float = Field(default=0.0, ge=0)
    """Weight of the divergence from `gloss2text_train.teachers`, beside the right text, which has 1; 0: they are
    none."""
    gloss_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the glosses of training that are read as `<unk>`."""
    piece_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the merges that are left out when a text of training is broken into pieces, so that it is another one
    every time (BPE-dropout); needs a tokenizer of merges, as trained ones are."""


class LmPretrainConfig(Config):
    """Denoising of running text, as BART and mBART are pre-trained: an mBART of one's own, before it sees a gloss."""

    training: TrainingConfig = TrainingConfig(schedule=ScheduleConfig(name="cosine-step"))
    """The training run; its rates are for `translation`, which is mBART, or `default`. Running text needs few epochs,
    which have none to spare at rate 0, in which `cosine-epoch` ends."""
    texts: tuple[Location, ...] = ()
    """Text files in UTF-8 or UTF-16: a sentence a line, an empty line between documents."""
    corpus: bool = True
    """Whether the training texts of `corpus.manifest` are learned from too, each as a document of its own."""
    held_out: float = Field(default=0.02, gt=0, lt=1)
    """Share of the documents that validation reads and training does not, chosen by their words."""
    most_pieces: int = Field(default=128, ge=1)
    """Pieces of the longest passage; consecutive sentences of a document that fit are one."""
    masked: float = Field(default=0.35, ge=0, le=1)
    """Share of the words that are masked; of pieces in languages without spaces."""
    span: float = Field(default=3.5, ge=0.1, le=1000)
    """Mean number of words behind one `<mask>` (Poisson)."""
    permute: bool = True
    """Whether the sentences of a passage are put in another order."""

    @model_validator(mode="after")
    def _has_texts(self) -> "LmPretrainConfig":
        if not self.texts and not self.corpus:
            raise ValueError("texts is empty and corpus false: there is nothing to learn from; name a text file")
        if not self.masked and not self.permute:
            raise ValueError("masked is 0 and permute false: there is no noise to undo; set masked to 0.35")
        return self


class Gloss2TextTrainConfig(Config):
    """Language pre-training within the domain: glosses to text."""

    training: TrainingConfig = TrainingConfig()
    """The training run."""
    generation: GenerationConfig = GenerationConfig(num_beams=4)
    """Beam search of validation."""
    freeze_embeddings: bool = False
    """Keep the text embedding (with the tied output layer) and the gloss table fixed: published (FACTS 6.4), and
    right only where both come from a pre-trained mBART."""
    regularise: RegulariseConfig = RegulariseConfig()
    """What keeps a model that starts at random from learning a small corpus by heart."""
    also: tuple[Beside, ...] = ()
    """What the same weights learn beside, each as often as the texts themselves: `text2gloss`, the glosses of a text;
    `backward`, the text from its last piece to its first. By it the run judges what it writes
    (`evaluate.rerank.itself`). It needs `translator.gloss_input: pieces`."""
    teachers: tuple[Location, ...] = ()
    """Runs of Gloss2Text with the same pieces and glosses, the mean of whose probabilities is learned beside the right
    text, as much as `regularise.distillation` says: an ensemble becomes one model."""

    @model_validator(mode="after")
    def _learned_once(self) -> "Gloss2TextTrainConfig":
        refuse_twice("also", self.also)
        if self.also and self.teachers:
            raise ValueError(
                f"also is {', '.join(self.also)}, and teachers answer to glosses alone: leave out also or teachers"
            )
        return self

    @model_validator(mode="after")
    def _teachers_teach(self) -> "Gloss2TextTrainConfig":
        weight = self.regularise.distillation
        if bool(self.teachers) != (weight > 0):
            raise ValueError(
                f"there are {len(self.teachers)} teachers, and regularise.distillation is {weight:g}: "
                "set both, or neither"
            )
        return self


class TranslateTrainConfig(Config):
    """The translator, trained on the feature store."""

    training: TrainingConfig = TrainingConfig()
    """The training run."""
    generation: GenerationConfig = GenerationConfig(num_beams=5)
    """Beam search of validation."""
    init_head: Literal["visual_train"] | None = "visual_train"
    """Weights of a trained head: `visual_train`, or None: random, which is what the published configs do
    (FACTS 8.4)."""
    init_language: Literal["gloss2text_train"] | None = "gloss2text_train"
    """Weights of mBART: `gloss2text_train` or None."""
    beam_size: int = Field(default=1, ge=0, le=1000)
    """CTC beams of validation where the head is trained."""
    objective: dict[str, Weight] = Field(default={"translation": 1.0, "recognition": 1.0}, min_length=1)
    """Weight of each part of the loss, a number or a ramp over optimiser steps: of MMTLB `translation`; of CV-SLT
    `prior`, `posterior`, `gaussian_kl` and `output_kl` (FACTS 9.1, 9.4); and where the head is trained `recognition`,
    the CTC loss: 1 in MMTLB, 0 in CV-SLT (FACTS 8.2). Every part is listed; 0 turns one off."""
    idle_classifier: Literal["kept", "decayed"] = "kept"
    """The gloss classifier of a trained head that no loss reaches: `kept` as it was, or `decayed` to nothing by weight
    decay, as the published code does without meaning to (FACTS 9.5)."""
    features_in: FeaturesIn = "files"
    """Where features are while training: `files` reads them as they are asked for, which is as fast as anything where
    the disk is local; `memory` holds them whole, `auto` too if they take at most half of what is free, `device` holds
    them on the GPU."""

    @model_validator(mode="after")
    def _one_process_on_the_device(self) -> "TranslateTrainConfig":
        if self.features_in == "device" and self.training.num_workers:
            raise ValueError(
                f"features_in is device and training.num_workers is {self.training.num_workers}: "
                "features on a device are read by the training process itself, set num_workers to 0"
            )
        return self


class JointTrainConfig(Config):
    """Encoder and translator, trained together down to the pixels."""

    training: TrainingConfig = TrainingConfig(
        epochs=5, optimiser=OptimiserConfig(lr={"default": 1e-5}), schedule=ScheduleConfig(name="cosine-step")
    )
    """The training run; few epochs have none to spare at rate 0, in which `cosine-epoch` ends. A rate may be given to a
    part (`s3d`, `recognition`, `mapper`, `translation`, `variational`) or to a block (`s3d.4`); without one, a block
    has that of `s3d`, and `s3d` that of `recognition`."""
    generation: GenerationConfig | None = None
    """Beam search of validation; None: that of translate_train."""
    beam_size: int = Field(default=1, ge=0, le=1000)
    """CTC beams of validation; 0: best path."""
    objective: dict[str, Weight] = Field(default={})
    """Weight of the parts that differ from what translate_train ends with: each of its parts goes on with the weight
    that its ramp reached, but `recognition`, the CTC loss, which has 1. 0 turns a part off."""
    freeze: tuple[str, ...] = ()
    """What stays as it is: parts (`s3d`, `recognition`, `mapper`, `translation`, `variational`), or blocks of the
    backbone (`s3d.1` to `s3d.5`). Frozen blocks, and a frozen visual head, stay in evaluation mode, so that their batch
    norms use the running statistics. `encoder.s3d.freeze_blocks` holds as well."""


_TAPS = {"translator.mapper.input": list(TAPS)}


class SweepConfig(Config):
    """Many translate-train runs over one store, or many of Gloss2Text over one corpus."""

    stage: Literal["translate_train", "gloss2text_train"] = "translate_train"
    """What each run is: a translator of signs, or Gloss2Text."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default=_TAPS)
    """Values to try by key of the recipe; all combinations are run. With `variants` or a `search`, none unless another
    is given."""
    variants: dict[str, dict[str, Any]] = Field(default={})
    """Named rows, such as ablations: the keys that each sets, none for the recipe as it is. Every combination of the
    grid is run in each; the table keeps their order, and compares with the first."""
    search: SearchConfig | None = None
    """Values that are chosen run by run, by what came before: what `slt sweep --search` runs, and `slt sweep` where
    there is neither a grid nor variants."""
    oracle: bool = False
    """Also decode each run from the posterior, which knows the right text: columns of their own, never sorted by."""
    seeds: tuple[Seed, ...] | None = Field(default=None, min_length=1)
    """Every combination is run once per seed; None: with the recipe's own."""
    metric: ScoreName = "bleu4"
    """Score by which the table is sorted, best first."""

    def task(self, direction: Direction) -> Task:
        """Return what its runs are scored on; `direction`: that of a translator that reads no signs."""
        return direction if self.stage == "gloss2text_train" else "sign2text"

    @property
    def tried(self) -> dict[str, list[Any]]:
        """Every key that tells runs apart, with the values that it is given; of a range those at its ends."""
        tried = {key: list(values) for key, values in self.grid.items()}
        for key, value in (pair for values in self.variants.values() for pair in values.items()):
            tried.setdefault(key, []).append(value)
        for key, space in (self.search.keys if self.search else {}).items():
            tried[key] = [*tried.get(key, ()), *space.probes]
        return tried

    def alone(self, search: bool) -> "SweepConfig":
        """Return the sweep without its search, or with nothing else: which of both is run."""
        return self.model_copy(update={"grid": {}, "variants": {}} if search else {"search": None})

    @model_validator(mode="before")
    @classmethod
    def _others_need_no_grid(cls, data: Any) -> Any:
        others = isinstance(data, Mapping) and (
            data.get("variants") or data.get("search") or data.get("stage") == "gloss2text_train"
        )
        if others and data.get("grid", _TAPS) == _TAPS:
            return {**data, "grid": {}}  # where a recipe is merged, the default has been written out
        return data

    @model_validator(mode="after")
    def _has_runs(self) -> "SweepConfig":
        if not self.grid and not self.variants and self.search is None:
            raise ValueError("grid is empty, and there are no variants; give values to try by key of the recipe")
        return self

    @model_validator(mode="after")
    def _variants_have_names(self) -> "SweepConfig":
        for name in self.variants:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"variants names {name!r}; the name of a row is words on one line")
        return self

    @model_validator(mode="after")
    def _no_run_twice(self) -> "SweepConfig":
        for name, values in (
            ("seeds", self.seeds or ()),
            *((f"grid.{key}", values) for key, values in self.grid.items()),
            ("variants", list(self.variants.values())),
        ):
            refuse_twice(name, values)
        return self


class EvaluateConfig(Config):
    """Decoding and scoring of a split."""

    tasks: tuple[Task, ...] = Field(default=TASKS, min_length=1)
    """Tasks to score; `text2gloss` is of a Gloss2Text that learned it (`translator.direction`, or
    `gloss2text_train.also`)."""
    splits: tuple[str, ...] = Field(default=("dev", "test"), min_length=1)
    """Splits to score."""
    beam_size: int = Field(default=5, ge=0, le=1000)
    """CTC beams; published test setting: 5."""
    generation: GenerationConfig = GenerationConfig(num_beams=5)
    """Beam search of the translators."""
    batch_size: int = Field(default=32, ge=1)
    """Clips decoded at once, in validation too: of the longest; of shorter ones as many as have as many steps."""
    num_best: int = Field(default=1, ge=1)
    """Translations of each clip that are kept with their log-probabilities; the first is the one that is scored."""
    rerank: RerankConfig | None = None
    """Judges of the beams of Gloss2Text, from true or recognised glosses; None: the search alone decides."""

    @model_validator(mode="after")
    def _enough_beams(self) -> "EvaluateConfig":
        _check_beams(self.num_best, self.generation)
        if self.rerank and self.generation.num_beams == 1:
            raise ValueError("generation.num_beams is 1, and rerank chooses among beams: raise it, or leave out rerank")
        return self


class TranslateConfig(Config):
    """A plain video to text and glosses."""

    num_best: int = Field(default=1, ge=1)
    """Translations returned per video."""
    beam_size: int = Field(default=5, ge=0, le=1000)
    """CTC beams."""
    generation: GenerationConfig = GenerationConfig(num_beams=5)
    """Beam search of the translator."""
    max_seconds: float = Field(default=60.0, gt=0)
    """Longest video accepted; a longer one must be cut into sentences first."""

    @model_validator(mode="after")
    def _enough_beams(self) -> "TranslateConfig":
        _check_beams(self.num_best, self.generation)
        return self


def _check_beams(num_best: int, generation: GenerationConfig) -> None:
    if num_best > generation.num_beams:
        raise ValueError(
            f"num_best is {num_best} and generation.num_beams {generation.num_beams}: a search returns no more than "
            "its beams, raise the second"
        )
