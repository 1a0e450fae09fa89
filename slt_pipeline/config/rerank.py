"""Configuration of reranking: which runs judge what a search of Gloss2Text wrote."""

from typing import Annotated

from pydantic import Field, model_validator

from slt_pipeline.config.base import Config
from slt_pipeline.config.paths import Location
from slt_pipeline.config.search import refuse_twice
from slt_pipeline.config.translator import Beside


class RerankConfig(Config):
    """Judges of what Gloss2Text writes: the best text of a search is the one that they and it find likeliest together.

    Of every beam, log p(text | glosses), the judges' log-probabilities with their weights, and a reward for length are
    added up: the noisy channel (Yee, Dauphin and Auli 2019) where a judge has `translator.direction` text2gloss. Judged
    are the beams of what writes, of each member of an ensemble by itself, and of judges that write texts.
    """

    runs: tuple[Location, ...] = ()
    """Runs of Gloss2Text: of text2gloss, log p(glosses | text); or such as write backward (`text.order`), or have other
    pieces, log p(text | glosses)."""
    itself: tuple[Beside, ...] = ()
    """What the runs that write learned beside (`gloss2text_train.also`) and judge their own texts by, behind `runs`; of
    an ensemble all of them together."""
    weights: tuple[Annotated[float, Field(ge=0, le=100)], ...] | None = None
    """Weight of each judge's log-probability beside that of what searched, which has 1; None: chosen on dev by BLEU-4,
    `per_piece` too."""
    per_piece: float | None = Field(default=None, ge=-100, le=100)
    """Added for every piece of a text: the longer a text, the less likely is each. None: chosen on dev."""

    @model_validator(mode="after")
    def _a_weight_a_run(self) -> "RerankConfig":
        judges = len(self.runs) + len(self.itself)
        if not judges:
            raise ValueError("runs and itself name no judge; name one, or leave rerank out")
        refuse_twice("runs", self.runs)
        refuse_twice("itself", self.itself)
        if (self.weights is None) != (self.per_piece is None):
            raise ValueError("weights and per_piece are chosen on dev together, or given: set both, or neither")
        if self.weights is not None and judges != len(self.weights):
            raise ValueError(f"there are {judges} judges and {len(self.weights)} weights: give each judge its own")
        return self
