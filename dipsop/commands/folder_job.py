"""Many pictures: shared out over processes, here or on the workers of a Dask scheduler; every one ends in a line.

A picture is a process of its own, so that none takes the rest down with it. Until it is done, a checkpoint beside the
result remembers how far it is: the same command, given again, goes on.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dipsop.commands import worker
from dipsop.commands.batch import Target, targets
from dipsop.commands.display import clock
from dipsop.commands.job import Job
from dipsop.commands.options import DeviceName
from dipsop.errors import DipsopError
from dipsop.files import as_json, reason, shown

THREADS_EACH = 1  # a step is short: two processes of one thread do more in sum than one of two
MEMORY_EACH = 1 << 30
DASK_TIMEOUT = "10s"

Outcome = tuple[Target, dict[str, Any]]


def run_all(pictures: Sequence[str], job: Job, overwrite: bool, jobs: int | None, dask: str | None) -> int:
    """Restore all pictures into the folder `job.out`.

    Returns
    -------
    int
        The exit status: 0, 1 where one failed, 130 on Ctrl-C.

    Raises
    ------
    DipsopError
        Before anything is begun: no pictures, or a folder that cannot be.
    """
    wanted = targets(pictures, job.out)
    outcomes: list[Outcome] = []
    to_do = []
    for target in wanted:
        if target.problem is None and target.out.exists() and not overwrite:
            outcomes.append((target, {"skipped": True}))
        elif target.problem is not None:
            outcomes.append((target, {"error": target.problem}))
        else:
            to_do.append(target)
            _make_folder(target.out.parent)
    for outcome in outcomes:
        _report(outcome, job)
    with _bar(job.quiet) as bar:
        running = _on_dask(to_do, job, dask) if dask else _here(to_do, job, jobs, bar)
        task = bar.add_task("", total=len(to_do), state="")
        status = 0
        try:
            for outcome in running:
                outcomes.append(outcome)
                bar.advance(task)
                _report(outcome, job)
        except KeyboardInterrupt:
            running.close()
            status = 128 + signal.SIGINT
    if not job.json and not job.quiet:
        typer.echo(table(outcomes, len(wanted) - len(outcomes)))
    failed = any("error" in report for _, report in outcomes)
    return status or int(failed)


def _here(to_do: Sequence[Target], job: Job, jobs: int | None, bar: Progress) -> Generator[Outcome]:
    """Do them in so many processes at a time."""
    slots = _slots(job, jobs)
    waiting: queue.SimpleQueue[Target] = queue.SimpleQueue()
    done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    running: set[subprocess.Popen[str]] = set()
    for target in to_do:
        waiting.put(target)

    def work(environment: dict[str, str], threads: int | None) -> None:
        row = bar.add_task("", total=1.0, state="", visible=False)
        while True:
            try:
                target = waiting.get_nowait()
            except queue.Empty:
                return
            process = worker.start(_one(target, job, threads).as_dict(), environment)
            running.add(process)

            def hear(said: dict[str, Any], name: str = target.source.name) -> None:
                bar.update(row, visible=True, completed=said["done"], state=f"{name}  {clock(said['left'])} left")

            report = worker.outcome(process, hear)
            running.discard(process)
            bar.update(row, visible=False)
            done.put((target, report))

    threads = [threading.Thread(target=work, args=slot, daemon=True) for slot in slots]
    for thread in threads:
        thread.start()
    try:
        for _ in to_do:
            yield done.get()
    except (GeneratorExit, KeyboardInterrupt):
        while not waiting.empty():
            waiting.get()
        for process in tuple(running):  # each saves its state and leaves
            process.terminate()
        for thread in threads:
            thread.join()
        raise


def _one(target: Target, job: Job, threads: int | None) -> Job:
    """The job of one picture."""
    checkpoint = target.out.with_name(f".{target.out.name}.dipsop-checkpoint")
    return replace(
        job,
        source=target.source,
        out=target.out,
        checkpoint=checkpoint,
        resume=True,
        of_many=True,
        threads=threads,
        json=True,
        quiet=True,
    )


def _slots(job: Job, jobs: int | None) -> list[tuple[dict[str, str], int | None]]:
    """Environment and threads of every process that runs at a time: a GPU each, or some of the cores."""
    gpus = _gpus(job.device)
    if gpus:
        return [({"CUDA_VISIBLE_DEVICES": str(k % gpus)}, None) for k in range(jobs or gpus)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = job.memory if job.memory is not None else psutil.virtual_memory().available
    count = jobs or max(1, min(cores // THREADS_EACH, free // MEMORY_EACH))
    return [({}, max(1, cores // count))] * count


def _gpus(device: DeviceName) -> int:
    if device not in ("auto", "cuda"):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _on_dask(to_do: Sequence[Target], job: Job, address: str) -> Generator[Outcome]:
    """Let the workers of a Dask scheduler do them; one that is lost has its pictures done by another."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise DipsopError("--dask needs Dask's distributed: pip install 'dipsop[dask]'.") from None
    try:
        client = Client(address, timeout=DASK_TIMEOUT)
    except (OSError, ValueError, TimeoutError) as error:
        raise DipsopError(
            f"no Dask scheduler answers at {address} ({reason(error)}): start it, or say its address."
        ) from None
    with client:
        futures = {
            client.submit(_on_worker, _one(target, job, None).absolute().as_dict(), pure=False, retries=3): target
            for target in to_do
        }
        try:
            for future in as_completed(futures):
                failed = future.status != "finished"
                report = {"error": f"{future.exception()}"} if failed else future.result()
                yield futures[future], report
        except (GeneratorExit, KeyboardInterrupt):
            client.cancel(list(futures))
            raise


def _on_worker(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job in a process of its own on a worker."""
    return worker.outcome(worker.start(job, {}), lambda said: None)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DipsopError(f"{shown(folder)} cannot be made a folder ({reason(error)}): choose another --out.") from None


def _bar(quiet: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=quiet or not console.is_terminal,
    )


def _report(outcome: Outcome, job: Job) -> None:
    """A line when a picture is done: its JSON on stdout, or what went wrong on stderr."""
    target, report = outcome
    if job.json:
        typer.echo(as_json({"in": str(target.source), **report, "out": str(target.out)}))
    if "error" in report:
        print(f"dipsop: {report['error']}", file=sys.stderr, flush=True)
    elif not job.quiet and not job.json:
        print(f"{shown(target.source)}  {in_words(report)}", file=sys.stderr, flush=True)


def in_words(report: dict[str, Any]) -> str:
    """Say in a few words how a picture ended."""
    if "error" in report:
        return "failed"
    if "skipped" in report:
        return "skipped, its result is there"
    percent = 100 * report["fraction_corrupted"]
    found = f"{percent:.{1 if percent >= 1 else 3}f} % corrupted" if percent else "no sparse corruption found"
    return f"{found}, {report['seconds']:.0f} s"


def table(outcomes: Sequence[Outcome], left: int) -> str:
    """The summary, a picture a line in the order of their names, and the totals; ASCII, for old consoles."""
    ordered = sorted(outcomes, key=lambda outcome: str(outcome[0].source))
    names = [shown(target.source) for target, _ in ordered]
    width = max(map(len, names), default=0)
    lines = [f"{name:<{width}}  {in_words(report)}" for name, (_, report) in zip(names, ordered, strict=True)]
    failed = sum("error" in report for _, report in outcomes)
    skipped = sum("skipped" in report for _, report in outcomes)
    total = f"{len(outcomes) - failed - skipped} restored, {skipped} skipped, {failed} failed"
    return "\n".join([*lines, total + (f", {left} left to do: give the same command again" if left else "")])
