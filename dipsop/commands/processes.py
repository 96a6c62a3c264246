"""The processes that torchrun starts, each with a share of the samples; without it there is one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from dipsop.commands.device import pick_device
from dipsop.commands.options import DeviceName


@dataclass(frozen=True)
class Process:
    """This process among those that torchrun started."""

    rank: int
    world: int
    device: torch.device


@contextmanager
def process(device: DeviceName) -> Iterator[Process]:
    """Join the processes that torchrun started, if it did: gloo on processors, nccl on GPUs."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Process(0, 1, pick_device(device))
        return
    picked = pick_device(device)
    if picked.type == "cuda":
        picked = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(picked)
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    try:
        yield Process(dist.get_rank(), world, picked)
    finally:
        dist.destroy_process_group()


@contextmanager
def in_turn(me: Process) -> Iterator[None]:
    """Let the first process go through alone, then the others."""
    if me.world > 1 and me.rank > 0:
        dist.barrier()
    yield
    if me.world > 1 and me.rank == 0:
        dist.barrier()
