"""A run goes on for more epochs than it was planned for, and loses nothing."""

import pytest
import torch
from stage_tools import CPU

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines
from slt_pipeline.training.checkpoint import best_checkpoint

EPOCHS = "gloss2text_train__training__epochs"


def test_a_finished_run_goes_on_to_what_more_epochs_would_have_given(own, stages):
    """With a constant rate, bit for bit; other schedules go on as if all of the epochs had been planned."""
    train = stages["gloss2text_train"]
    short, long = (own.recipe(runs_dir=own.root / name, **{EPOCHS: 2}) for name in ("extended", "whole"))
    train(short, device="cpu")
    folder = short.run_folder("gloss2text_train")
    before = read_json_lines(folder / "metrics.jsonl")

    more = own.recipe(runs_dir=own.root / "extended", **{EPOCHS: 5})
    refused = (
        r"training.epochs = 2, but now it is 5; add --extend to go on from 2 to 5 epochs, add --overwrite to start"
    )
    with pytest.raises(SltError, match=refused):
        train(more, device="cpu")
    result = train(more, device="cpu", extend=True)
    assert read_json(folder / "extended.json") == [2] and read_json(folder / "inputs.json")["training.epochs"] == 5
    assert read_json_lines(folder / "metrics.jsonl")[: len(before)] == before
    assert train(more, device="cpu") == result  # finished, and nothing is left to extend
    assert train(more, device="cpu", extend=True) == result and read_json(folder / "extended.json") == [2]

    whole = own.recipe(runs_dir=own.root / "whole", **{EPOCHS: 5})
    assert train(whole, device="cpu")["best_step"] == result["best_step"]
    found, wanted = (
        best_checkpoint(recipe.run_folder("gloss2text_train"), made_by="x").weights for recipe in (more, long)
    )
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({EPOCHS: 1}, r"training.epochs = 15, but now it is 1; add --overwrite"),
        (
            {EPOCHS: 16, "gloss2text_train__training__batch_size": 2},
            r"training.batch_size = 3, but now it is 2; add --o",
        ),
    ],
)
def test_only_more_epochs_extend_a_run(own, stages, values, words):
    with pytest.raises(SltError, match=words):
        stages["gloss2text_train"](own.recipe(**values), device="cpu", extend=True)


def test_a_run_is_extended_or_begun_anew(own, stages):
    with pytest.raises(SltError, match="--overwrite starts anew and --extend goes on; leave out one of them"):
        stages["gloss2text_train"](own.recipe(), device=str(CPU), overwrite=True, extend=True)
