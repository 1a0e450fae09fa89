"""The sections of a recipe: everything that decides one experiment, as data."""

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from slt_pipeline.config.base import Config
from slt_pipeline.config.corpus import CorpusConfig
from slt_pipeline.config.encoder import EncoderConfig
from slt_pipeline.config.objective import Weight, continued
from slt_pipeline.config.paths import Place
from slt_pipeline.config.stages import (
    EvaluateConfig,
    ExtractConfig,
    Gloss2TextTrainConfig,
    JointTrainConfig,
    LmPretrainConfig,
    SweepConfig,
    TranslateConfig,
    TranslateTrainConfig,
    VisualPretrainConfig,
    VisualTrainConfig,
)
from slt_pipeline.config.synth import SynthConfig
from slt_pipeline.config.text import TextConfig
from slt_pipeline.config.translator import AnyTranslator, GenerationConfig, MMTLBConfig
from slt_pipeline.config.uses import UsesConfig
from slt_pipeline.config.video import VideoConfig


class Sections(Config):
    """What a recipe says; `config.recipe.Recipe` knows where things lie, and checks what sections say of each other."""

    recorded: ClassVar[frozenset[str]] = frozenset(
        {"name", "description", "runs_dir", "synth", "sweep", "sweeps", "translate"}
    )

    name: str
    """Name of the recipe: its path below recipes/ without `.yaml`, or the stem of a file of one's own."""
    description: str = ""
    """One line for `slt recipe list`."""
    seed: int = Field(default=42, ge=0, lt=2**63)
    """Seed of initialisation, order, augmentation and dropout."""
    runs_dir: Place = "runs"
    """Folder of all runs; a stage writes to <runs_dir>/<name>/<stage>."""
    uses: UsesConfig = UsesConfig()
    """Other experiments that this one takes its encoder, store, language model or translator from."""
    corpus: CorpusConfig
    """The clips and how they are scored."""
    synth: SynthConfig | None = None
    """The synthetic corpus that `slt data synth` renders for this recipe."""
    video: VideoConfig = VideoConfig()
    """Frame sampling, cropping and augmentation."""
    encoder: EncoderConfig = EncoderConfig()
    """S3D and the visual head."""
    text: TextConfig = TextConfig()
    """Tokenizer and language."""
    translator: AnyTranslator = MMTLBConfig()
    """The system of phase two: V-L mapper and mBART, and in CV-SLT what stands between its encoder and decoder."""
    visual_pretrain: VisualPretrainConfig = VisualPretrainConfig()
    """`slt visual-pretrain`."""
    visual_train: VisualTrainConfig = VisualTrainConfig()
    """`slt visual-train`."""
    extract: ExtractConfig = ExtractConfig()
    """`slt extract`."""
    lm_pretrain: LmPretrainConfig = LmPretrainConfig()
    """`slt lm pretrain`."""
    gloss2text_train: Gloss2TextTrainConfig = Gloss2TextTrainConfig()
    """`slt gloss2text-train`."""
    translate_train: TranslateTrainConfig = TranslateTrainConfig()
    """`slt translate-train`."""
    joint_train: JointTrainConfig = JointTrainConfig()
    """`slt joint-train`."""
    sweep: SweepConfig = SweepConfig()
    """`slt sweep`."""
    sweeps: dict[Annotated[str, Field(pattern=r"^\w[\w.+-]*$")], SweepConfig] = Field(default={})
    """Further sweeps by name, for `slt sweep NAME`, which is the name of its folder too."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """`slt evaluate`."""
    translate: TranslateConfig = TranslateConfig()
    """`slt translate`."""

    @property
    def joint_objective(self) -> dict[str, Weight]:
        """Weight of each part of the loss in joint-train."""
        return continued(self.translate_train.objective, self.joint_train.objective)

    @property
    def joint_generation(self) -> GenerationConfig:
        """Beam search of validation in joint-train."""
        return self.joint_train.generation or self.translate_train.generation

    @field_validator("name")
    @classmethod
    def _stays_below_the_runs(cls, name: str) -> str:
        parts = [part.strip() for part in name.split("/")]
        if not name.isprintable() or any(part in ("", ".", "..") for part in parts):
            raise ValueError("a name is the folder of its runs below runs_dir: words, with / between them")
        return name
