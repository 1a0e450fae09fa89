"""Runs of a sweep that meet a signal, for processes of their own; as a program, a search that is killed in a step."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from slt_pipeline.config.recipe import Recipe, load_recipe
from slt_pipeline.stages import sweep as sweep_stage
from slt_pipeline.training.objective import Objective


def killed_on_the_way(variant: Any, *arguments: Any) -> dict[str, Any]:
    """A run at the tap s3d is killed in its third step; others end well."""
    return _meets(lambda: os.kill(os.getpid(), signal.SIGKILL), variant, arguments)


def stopped_with_its_parent(variant: Any, *arguments: Any) -> dict[str, Any]:
    """Ctrl-C reaches both in the third step of a run at the tap s3d, which has not ended when the parent's comes."""

    def ctrl_c() -> None:
        for process in (os.getppid(), os.getpid()):
            os.kill(process, signal.SIGINT)
        time.sleep(1)

    return _meets(ctrl_c, variant, arguments)


def killed_in_step(recipe: Recipe, number: int) -> None:
    """Run the search `found`, and die like a process that the kernel kills in its training step `number`."""
    total, steps = Objective.total, []

    def counted(*of_step: Any) -> Any:
        steps.append(1)
        if len(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return total(*of_step)

    Objective.total = counted
    sweep_stage.sweep(recipe, "found", device="cpu")


def _meets(what: Callable[[], None], variant: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    total, steps = Objective.total, []

    def counted(*of_step: Any) -> Any:
        steps.append(1)
        if len(steps) == 3:
            what()
        return total(*of_step)

    if variant.recipe.translator.mapper.input == "s3d":
        Objective.total = counted
    return sweep_stage._run(variant, *arguments)


if __name__ == "__main__":
    killed_in_step(load_recipe(sys.argv[1]), int(sys.argv[2]))
