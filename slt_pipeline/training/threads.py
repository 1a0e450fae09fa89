"""How many threads a process computes with on a CPU, where it has the machine to itself or shares it."""

import os


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(at_once: int) -> int:
    """Return the threads of each of several processes: an equal share of the cores, or what OMP_NUM_THREADS says."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else max(1, num_cores() // at_once)
