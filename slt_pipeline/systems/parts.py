"""The encoder and the translator in the checkpoint of a joint run, each of which opens as if it were alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from slt_pipeline.config.runs import holds_encoder, holds_translator
from slt_pipeline.errors import SltError
from slt_pipeline.training.checkpoint import Checkpoint, best_checkpoint

ENCODER, HEAD, TRANSLATOR = "front.encoder.", "front.head.", "translator."
"""How the names of weights begin: in a joint run those of the encoder; in a run of translate-train those of a head that
is trained with it; in both those of mapper, mBART and bridge."""


def is_joint(folder: Path) -> bool:
    """Return whether a run holds both."""
    return holds_encoder(folder) and holds_translator(folder)


def best_of(folder: Path, part: str, made_by: str, or_else: str = "") -> Checkpoint:
    """Return the best checkpoint of a run; of a joint run the part whose weights' names begin with `part`.

    Raises:
        SltError: there is none.
    """
    if not is_joint(folder):
        return best_checkpoint(folder, made_by, or_else)
    whole = best_checkpoint(folder, "slt joint-train", or_else)
    return _Part(whole.folder, whole.meta, part)


@dataclass(frozen=True)
class _Part(Checkpoint):
    """A checkpoint of which a part is read. Its hash is that of the whole file: the parts were trained together."""

    part: str

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Weights of the part, as its own run would name them."""
        whole, cut = super().weights, self.part if self.part == ENCODER else ""
        return {name.removeprefix(cut): value for name, value in whole.items() if name.startswith(self.part)}

    def load_model(self, model: torch.nn.Module) -> None:
        """Copy the part's weights into `model`.

        Raises:
            SltError: names or shapes differ.
        """
        load_strictly(model, self.weights, f"checkpoint {self.folder}")


def load_strictly(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], what: str) -> None:
    """Copy weights into a model: every one that it has, and no other. Of tied parameters one is enough.

    Raises:
        SltError: one is missing, is left over or has another shape; `what` begins the message.
    """
    own = model.state_dict(keep_vars=True)
    given = {id(own[name]) for name in weights if name in own}
    missing = [name for name, value in own.items() if id(value) not in given]
    left_over = [name for name in weights if name not in own]
    for word, names in (("lacks", missing), ("has what the recipe's model has not:", left_over)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise SltError(f"{what} {word} {names[0]}{more}; take the run that the recipe was trained as")
    try:
        model.load_state_dict(dict(weights), strict=False)
    except RuntimeError as error:
        raise SltError(f"{what} does not fit the recipe's model: {' '.join(str(error).split())}") from error
