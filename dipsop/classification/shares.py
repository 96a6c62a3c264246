"""Batch statistics by share: those of a sample's own share, so that no curve depends on the number of processes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dipsop.classification.distributed import summed


class ShareStatistics:
    """The running batch statistics of a network, once for each share; a single share has those of the network.

    Parameters
    ----------
    network : nn.Module
    own : iterable of int
        The shares of this process.
    shares : int
        How many there are in all.
    world : int
        How many processes train together.
    """

    def __init__(self, network: nn.Module, own: Iterable[int], shares: int, world: int) -> None:
        self._shares, self._world = range(shares if shares > 1 else 0), world
        self._network = [b for name, b in network.named_buffers() if "running_" in name] if shares > 1 else []
        self._own = {share: [b.clone() for b in self._network] for share in own if share in self._shares}

    @contextmanager
    def of(self, share: int) -> Iterator[None]:
        """Let the network have the statistics of a share of this process, and keep what it makes of them."""
        if not self._shares:
            yield
            return
        torch._foreach_copy_(self._network, self._own[share])
        yield
        torch._foreach_copy_(self._own[share], self._network)

    def average(self) -> None:
        """Give the network the mean over all shares, which it is evaluated with."""
        for k, statistic in enumerate(self._network):
            total = torch.stack([own[k] for own in self._own.values()]).sum(0)
            statistic.copy_(summed(total, self._world) / len(self._shares))

    def state(self) -> dict[int, list[Tensor]]:
        """Those of all shares, of all processes."""
        nothing = [torch.zeros_like(b) for b in self._network]
        return {
            share: [summed(b.clone(), self._world) for b in self._own.get(share, nothing)] for share in self._shares
        }

    def load(self, state: dict[int, list[Tensor]]) -> None:
        """Go on from a state."""
        for share, own in self._own.items():
            torch._foreach_copy_(own, state[share])
