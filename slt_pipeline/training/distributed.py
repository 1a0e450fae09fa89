"""The processes of one command: which of them this is, and what they decide, share out and gather together.

A launcher (torchrun, `accelerate launch`, `--processes`) starts the same command several times. Whatever leads to a
collective call is decided once, a file has one writer, and an error of one process ends all. With one process every
function here is a plain call, and torch is not even imported.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from slt_pipeline.errors import SltError

T = TypeVar("T")

_LONGEST_WAIT = timedelta(hours=12)
"""For one that works longer than the others, such as on a clip of its share; a dead one is noticed at once."""
_MEETING = timedelta(minutes=15)
"""Within this the launcher has started all of them."""
_WORDS, _SPEAKER = "failed", "speaker"


class ElsewhereError(SltError):
    """Another process has failed."""

    def __init__(self, message: str, *, told: bool = True):
        """Take what is known of it; `told`: it says so itself."""
        super().__init__(message)
        self.told = told


@dataclass
class _Group:
    rank: int = 0
    world: int = 1
    store: Any = None


_group = _Group()


def started() -> int:
    """Return how many processes the launcher has started, whether they have met or not.

    Raises:
        SltError: the environment names no number.
    """
    number = os.environ.get("WORLD_SIZE") or "1"
    if not number.isdecimal():
        raise SltError(f"WORLD_SIZE is {number!r} in the environment, no number of processes; unset it")
    return int(number)


def join() -> None:
    """Meet the other processes, if a launcher has started several and they have not met yet.

    Raises:
        SltError: no launcher has, whatever the environment says; or one of them has not come.
    """
    if started() < 2 or _group.store is not None:
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise SltError(
            f"WORLD_SIZE is {started()} in the environment, as a launcher sets it, and {', '.join(missing)} "
            "not; start the command with torchrun, or unset WORLD_SIZE"
        )
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if not dist.is_initialized():
        try:
            store, rank, world = next(rendezvous("env://", timeout=_MEETING))
        except (dist.DistError, ValueError) as error:
            where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            raise SltError(
                f"process {os.environ['RANK']} of {started()} does not meet the others at {where}: "
                f"{str(error).splitlines()[0]}; start all of them with torchrun, or unset WORLD_SIZE"
            ) from error
        store.set_timeout(_LONGEST_WAIT)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the launcher's store remembers those before
        _group.store = dist.PrefixStore(f"slt/{attempt}", store)  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group(backend, store=_group.store, rank=rank, world_size=world, timeout=_LONGEST_WAIT)
    _group.rank, _group.world = dist.get_rank(), dist.get_world_size()


def leave() -> None:
    """Part from the others, when the work is done."""
    if world() > 1:
        import torch.distributed as dist

        dist.destroy_process_group()
        _group.rank, _group.world, _group.store = 0, 1, None


def rank() -> int:
    """Return the number of this process, from 0."""
    return _group.rank


def world() -> int:
    """Return the number of processes."""
    return _group.world


def is_main() -> bool:
    """Whether this is the process that decides and writes."""
    return rank() == 0


def barrier() -> None:
    """Wait until all processes are here."""
    highest(0)


def highest(value: int) -> int:
    """Return the highest of the values of all processes."""
    if world() == 1:
        return value
    import torch
    import torch.distributed as dist

    found = torch.tensor(value)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def gathered(value: T) -> list[T]:
    """Return the values of all processes, by rank. They are pickled on the way."""
    if world() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def first(call: Callable[[], T]) -> T:
    """Let the first process call, and return in all of them what it returns.

    Raises:
        SltError: what it raises; in the others an `ElsewhereError` of the same words.
    """
    if world() == 1:
        return call()
    import torch.distributed as dist

    answer: list[Any] = [None, None]
    if is_main():
        try:
            answer = [call(), None]
        except SltError as error:
            dist.broadcast_object_list([None, str(error)])
            raise
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise ElsewhereError(answer[1])
    return answer[0]


def share(items: Sequence[T]) -> list[T]:
    """Return the items of this process."""
    return list(items[rank() :: world()])


def shared_out(items: Sequence[Any], work: Callable[[list[Any]], Sequence[T]]) -> list[T]:
    """Let every process work on its share, and return in all of them the results of all items, in their order.

    Args:
        items: the same in every process.
        work: items to their results, one each.

    Raises:
        SltError: what the work of one process raises; in the others an `ElsewhereError` of the same words.
    """
    if world() == 1:
        return list(work(list(items)))
    results: Sequence[T] = ()
    failed: SltError | None = None
    try:
        results = list(work(share(items)))
    except SltError as error:
        failed = error
    told = gathered((results, failed and str(failed)))
    if failed is not None:
        raise failed
    words = next((words for _, words in told if words is not None), None)
    if words is not None:
        raise ElsewhereError(words)
    return [told[number % world()][0][number // world()] for number in range(len(items))]


@contextmanager
def one_for_all() -> Iterator[None]:
    """Tell the other processes if the block fails here; say in words if it fails because another one has.

    Raises:
        ElsewhereError: another process has failed, or was lost.
    """
    try:
        yield
    except ElsewhereError:
        raise
    except Exception as error:
        if world() == 1 or _group.store is None:
            raise
        if _is_lost_connection(error):
            told = _words_of_another()
            reason = told or "another process was lost (killed, or out of memory)"
            message = f"{reason}; run the same command again to go on from the last checkpoint"
            raise ElsewhereError(message, told=told is not None) from error
        _group.store.set(_WORDS, f"process {rank()} has failed: {' '.join(str(error).split())[:500]}")
        raise


def speaks(error: BaseException) -> bool:
    """Whether this process is to say why the command has failed: one of them does, the first that asks."""
    if world() == 1 or _group.store is None:
        return True
    if isinstance(error, ElsewhereError) and error.told:
        return False
    try:
        return _group.store.compare_set(_SPEAKER, "", str(rank())) == str(rank()).encode()
    except Exception:  # the store has gone with the launcher, or the first process, which has spoken unless it was lost
        return is_main() or isinstance(error, ElsewhereError)


def _is_lost_connection(error: Exception) -> bool:
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text or "connection" in text)


def _words_of_another() -> str | None:
    try:
        _group.store.wait([_WORDS], timedelta(seconds=2))
        return _group.store.get(_WORDS).decode("utf-8", "replace")
    except Exception:  # the store has gone with the process that held it, or nobody has said anything
        return None
