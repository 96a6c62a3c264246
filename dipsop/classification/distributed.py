"""The processes that torchrun starts, each with a share of the samples; without it there is one."""

import gc
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from dipsop.compute import DeviceName, pick_device
from dipsop.errors import DipsopError


@dataclass(frozen=True)
class Process:
    """This process among those that torchrun started."""

    rank: int
    world: int
    device: torch.device

    def any(self, here: bool) -> bool:
        """Whether it is so in one process or more: all hear the same, and go the same way."""
        if self.world == 1:
            return here
        said = torch.tensor(int(here), device=self.device)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said)


def summed(values: torch.Tensor, world: int) -> torch.Tensor:
    """Return values added up over so many processes, in the place of those given."""
    if world > 1:
        dist.all_reduce(values)
    return values


def several() -> bool:
    """Whether torchrun started more than one process."""
    return _world() > 1


def is_first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return not several() or int(os.environ.get("RANK", "0")) == 0


@contextmanager
def process(device: DeviceName) -> Iterator[Process]:
    """Join the processes that torchrun started, if it did: gloo on processors, nccl on GPUs.

    Raises
    ------
    DipsopError
        The device is not there, or not one for each process, or it was not torchrun that set WORLD_SIZE.
    """
    if not several():
        yield Process(0, 1, pick_device(device))
        return
    picked = _one_of_many(device)
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    try:
        yield Process(dist.get_rank(), _world(), picked)
        dist.barrier()
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        # The threads of the data-parallel wrapper, held by the functions called within, must end before the group does.
        gc.collect()
        dist.destroy_process_group()


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _one_of_many(device: DeviceName) -> torch.device:
    """The device of one of the processes on this machine."""
    try:
        local, asked = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    except KeyError as missing:
        raise DipsopError(
            f"WORLD_SIZE is set and {missing.args[0]} is not: start the processes by torchrun, or unset it."
        ) from None
    picked = pick_device("cpu" if device == "auto" and not torch.cuda.is_available() else device)
    if picked.type == "mps":
        raise DipsopError("Processes of torchrun cannot share mps: use --device cpu, or no torchrun.")
    if picked.type == "cuda":
        there = torch.cuda.device_count()
        if asked > there:
            raise DipsopError(f"{asked} processes need as many GPUs, here are {there}: start fewer, or --device cpu.")
        picked = torch.device("cuda", local)
        torch.cuda.set_device(picked)
    return picked


@contextmanager
def in_turn(me: Process) -> Iterator[None]:
    """Let the first process go through alone, then the others."""
    if me.world > 1 and me.rank > 0:
        dist.barrier()
    yield
    if me.world > 1 and me.rank == 0:
        dist.barrier()
