"""`--processes N`: the same command N times on this machine, as torchrun would start it."""

import logging
import os
import sys
import uuid


def launch(number: int) -> int:
    """Run this command in `number` processes and return its exit status.

    A process that fails ends all. A signal is passed on: the work is saved, and the same command goes on from there.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from slt_pipeline.training.threads import threads_each

    logging.disable(logging.CRITICAL)  # the processes say themselves what is wrong, or that they were interrupted
    os.environ.setdefault("OMP_NUM_THREADS", str(threads_each(number)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=number,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "slt_pipeline.cli.main", *sys.argv[1:])
    except ChildFailedError as error:
        return max(1, error.get_first_failure()[1].exitcode)
    except SignalException:
        return 130
    return 0
