"""Many pictures: shared out over processes, here or on the workers of a Dask scheduler; every one ends in an event.

A picture is a process of its own, so that none takes the rest down with it. Until it is done, a checkpoint beside the
result remembers how far it is: the same job, given again, goes on.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dipsop.compute import DeviceName
from dipsop.errors import DipsopError
from dipsop.files import as_json, make_folder, reason, shown
from dipsop.jobs import memory, worker
from dipsop.jobs.events import Begun, Done, Failed, Progress, Restored, Skipped, Stop, never
from dipsop.jobs.job import RestoreJob
from dipsop.jobs.targets import Target, targets

DASK_TIMEOUT = "10s"
VISIBLE = "CUDA_VISIBLE_DEVICES"
LONG_NAME = 200  # bytes: a longer one leaves no room for what a checkpoint adds, as 255 are all that most disks take
MADE_FROM = ".dipsop-made-from.jsonl"  # in the folder of the results: a line for each, of which the last one counts


@dataclass(frozen=True, kw_only=True)
class FolderJob:
    """Pictures, and how each of them is restored.

    Parameters
    ----------
    pictures : sequence of str
        Files, folders and patterns.
    each : RestoreJob
        What is done with each; its `source` is left aside, its `out` is the folder of the results.
    overwrite : bool
        Do pictures again whose results are there.
    at_once : int or None
        How many at a time; None: as cores, memory and GPUs allow.
    dask : str or None
        Address of a Dask scheduler.
    """

    pictures: Sequence[str]
    each: RestoreJob
    overwrite: bool = False
    at_once: int | None = None
    dask: str | None = None


def run(job: FolderJob, stop: Stop = never) -> Iterator[Begun | Progress | Restored | Skipped | Failed | Done]:
    """Restore all pictures into a folder.

    Parameters
    ----------
    job : FolderJob
    stop : callable
        Asked a few times a second: true ends what is under way, each picture with its checkpoint kept.

    Yields
    ------
    Restored, Skipped or Failed
        For every picture that was not left by a stop; Progress while they are under way; at the end Done with their
        numbers.

    Raises
    ------
    DipsopError
        Before any picture is begun: there are none, or a folder cannot be made; later, a Dask scheduler that is lost.
    """
    wanted = targets(job.pictures, job.each.out)
    to_do, counts = [], {"restored": 0, "skipped": 0, "failed": 0}
    origins = _Origins(job.each.out)
    for target in wanted:
        stays = os.path.exists(target.out) and not job.overwrite
        problem = target.problem or (origins.problem(target) if stays else None)
        if problem is not None:
            counts["failed"] += 1
            yield Failed(target.source, target.out, problem)
        elif stays:
            counts["skipped"] += 1
            yield Skipped(target.source, target.out)
        else:
            to_do.append(target)
            make_folder(target.out.parent)
    yield Begun(len(to_do))
    for event in _on_dask(to_do, job.each, job.dask, stop) if job.dask else _here(to_do, job, stop):
        counts["restored"] += isinstance(event, Restored)
        counts["failed"] += isinstance(event, Failed)
        if isinstance(event, Restored):
            origins.add(event.source, event.out)
        yield event
    yield Done(counts | {"left": len(wanted) - sum(counts.values())})


class _Origins:
    """What each result in a folder was made from: a picture of the same name may be another one."""

    def __init__(self, folder: Path) -> None:
        self._file, self._known = folder / MADE_FROM, dict[str, Any]()
        lines: list[bytes] = []
        with suppress(OSError):  # without it, a name is all there is to go by
            lines = self._file.read_bytes().splitlines()
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):  # cut short by a kill
                made = json.loads(line)
                self._known[made["out"]] = made

    def problem(self, target: Target) -> str | None:
        """A sentence, if the result was made from something else than the picture as it is now."""
        known = self._known.get(self._name(target.out))
        try:
            if known is None or known["dated"] == _dated(target.source):  # of an album that is done, nothing is read
                return None
            if known["hash"] == _hash(target.source):
                return None
        except (OSError, KeyError):
            return None
        return (
            f"{shown(target.out)} is there already, made from another picture or before this one was changed: "
            "name another folder as --out, or give --overwrite."
        )

    def add(self, source: Path, out: Path) -> None:
        """Keep what a result was made from."""
        with suppress(OSError), self._file.open("a", encoding="utf-8") as file:
            file.write(as_json({"out": self._name(out), "dated": _dated(source), "hash": _hash(source)}) + "\n")

    def _name(self, out: Path) -> str:
        return out.relative_to(self._file.parent).as_posix()


def _dated(source: Path) -> list[int]:
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]


def _hash(source: Path) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _here(to_do: Sequence[Target], job: FolderJob, stop: Stop) -> Iterator[Progress | Restored | Failed]:
    """Do them in so many processes at a time; told to stop, each saves its state and leaves."""

    slots, each = _slots(job, len(to_do))

    def asked(target: Target, threads: int | None) -> dict[str, Any]:
        return _one(target, each, threads).as_dict()

    for target, line in worker.side_by_side(to_do, slots, asked, stop):
        yield Progress(target.source, line["done"], line["left"]) if "done" in line else _outcome(target, line)


def _outcome(target: Target, report: Mapping[str, Any]) -> Restored | Failed:
    if "error" in report:
        more = " Or say --jobs 1, or --memory." if report["error"] == worker.KILLED else ""
        return Failed(target.source, target.out, f"{report['error']}{more}")
    return Restored(target.source, target.out, report)


def _one(target: Target, job: RestoreJob, threads: int | None) -> RestoreJob:
    """The job of one picture."""
    name = target.out.name
    if len(os.fsencode(name)) > LONG_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    checkpoint = target.out.with_name(f".{name}.dipsop-checkpoint")
    return replace(
        job, source=target.source, out=target.out, checkpoint=checkpoint, resume=True, of_many=True, threads=threads
    )


def _slots(job: FolderJob, tasks: int) -> tuple[list[worker.Slot], RestoreJob]:
    """The processes that run at a time, a GPU each or some cores, and the job of each, with its share of memory."""
    budget = job.each.memory
    if gpus := _gpus(job.each.device):
        count = max(1, min(tasks, job.at_once or len(gpus)))
        slots: list[worker.Slot] = [({VISIBLE: gpus[k % len(gpus)]}, None) for k in range(count)]
    else:
        # All see the same memory free: what each may take is settled here, once.
        budget = int(memory.SHARE * memory.free()) if budget is None else budget
        slots = worker.slots(tasks, budget, job.at_once)
    return slots, replace(job.each, memory=None if budget is None else budget // len(slots))


def _gpus(device: DeviceName) -> list[str]:
    """The GPUs that may be taken, as VISIBLE names them."""
    if device not in ("auto", "cuda"):
        return []
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get(VISIBLE)
    return ([name.strip() for name in named.split(",")] if named else [str(k) for k in range(count)])[:count]


def _on_dask(to_do: Sequence[Target], job: RestoreJob, address: str, stop: Stop) -> Iterator[Restored | Failed]:
    """Let the workers of a Dask scheduler do them; one that is lost has its pictures done by another."""
    try:
        from distributed import Client, Event, wait
    except ImportError:
        raise DipsopError("--dask needs Dask's distributed: pip install 'dipsop[dask]'.") from None
    try:
        client = Client(address, timeout=DASK_TIMEOUT)
    except (OSError, ValueError, TimeoutError) as error:
        raise DipsopError(
            f"no Dask scheduler answers at {address} ({reason(error)}): start it, or say its address."
        ) from None
    with client:
        over = Event(f"dipsop-{secrets.token_hex(8)}", client)
        jobs = [_one(target, job, None).absolute().as_dict() for target in to_do]
        pending = dict(zip(client.map(_on_worker, jobs, stop=over.name, pure=False, retries=3), to_do, strict=True))
        try:
            while pending and not stop():
                try:
                    done, _ = wait(
                        list(pending), timeout=worker.SECONDS_BETWEEN_QUESTIONS, return_when="FIRST_COMPLETED"
                    )
                except TimeoutError:
                    continue
                except CancelledError:
                    raise DipsopError(
                        f"the Dask scheduler at {address} no longer answers: start it and give the same command again, "
                        "which goes on."
                    ) from None
                for future in done:
                    lost = future.status != "finished"
                    yield _outcome(pending.pop(future), {"error": f"{future.exception()}"} if lost else future.result())
            if pending:
                over.set()
        finally:
            client.cancel(list(pending))


def _on_worker(job: dict[str, Any], stop: str) -> dict[str, Any]:
    """Do one job in a process of its own on a worker, until an event of the scheduler, by its name, is set."""
    from distributed import Event

    over, process = Event(stop), worker.start(job, {})
    return worker.outcome(process, lambda said: process.terminate() if over.is_set() else None)
