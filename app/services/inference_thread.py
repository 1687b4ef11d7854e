"""Models run in threads of their own, with as many OpenMP threads altogether as there are cores.

libgomp gives each calling thread its own team. Once there are more team members than cores, none of them spins
any more, and every operation waits for the kernel to wake its team: on two cores a picture alone took 80 ms
instead of 42, a text 20 instead of 15. So heavy work shares one thread, short work has another, and no other
thread makes a team.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import psutil
from threadpoolctl import threadpool_limits

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class InferenceThread:
    """One thread; work given to it is done in turn."""

    def __init__(self, name: str, openmp_threads: int) -> None:
        self._pool = ThreadPoolExecutor(
            1,
            thread_name_prefix=f"inference-{name}",
            initializer=_make_team,
            initargs=(openmp_threads,),
        )

    def run(
        self, work: Callable[[Argument], Result], argument: Argument, timeout_s: float | None = None
    ) -> Result:
        """Waits for its turn and for the result; raises what the work raises.

        Raises TimeoutError after timeout_s: work that has not begun by then is not done any more.
        """
        future = self._pool.submit(work, argument)
        try:
            return future.result(timeout_s)
        finally:
            future.cancel()

    def close(self) -> None:
        """What is already waiting is still done."""
        self._pool.shutdown()


@dataclass(frozen=True)
class InferenceThreads:
    """`heavy` for pictures and speech, `short` for texts, which people wait for while they type."""

    heavy: InferenceThread
    short: InferenceThread

    @classmethod
    def on(cls, cores: int) -> "InferenceThreads":
        heavy, short = share_cores(cores)
        return cls(InferenceThread("heavy", heavy), InferenceThread("short", short))

    def close(self) -> None:
        self.heavy.close()
        self.short.close()


def _make_team(openmp_threads: int) -> None:
    if torch := sys.modules.get("torch"):  # not where every model is in another process
        torch.set_num_threads(openmp_threads)


def share_cores(cores: int) -> tuple[int, int]:
    """OpenMP threads for heavy and for short work: with the main thread, as many in all as there are cores."""
    short = max(1, cores // 4)
    return cores - short + 1, short


def available_cores() -> int:
    """Physical cores that this process may run on: a second thread on a core does not make matrices faster."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def leave_the_cores_to_inference() -> None:
    """The calling thread, which loads models, makes no team, and no thread keeps inference waiting for long.

    Nor does NumPy wait for a thread of its own, which a busy machine may not run: 10 ms for products of 0.03 ms.

    An inference thread asks for Python's lock again after each of its hundreds of operations, and another thread
    may keep it for the switch interval. With 0.5 ms instead of 5, imports take a seventh less time; 0.1 is worse.
    """
    import torch

    torch.set_num_threads(1)
    threadpool_limits(1, "blas")
    sys.setswitchinterval(0.0005)
