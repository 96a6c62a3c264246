"""What is read and checked before a job begins. Free of torch, so that a first preview can be there at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dipsop.commands.inputs import load_mask, load_truth
from dipsop.commands.job import Job
from dipsop.commands.outputs import check_apart, check_suffix
from dipsop.errors import DipsopError
from dipsop.files import check_writable, shown
from dipsop.restoration import images
from dipsop.restoration.picture import Picture, quantized, unit_values
from dipsop.restoration.preview import first_estimate
from dipsop.restoration.quality import Array
from dipsop.restoration.trace import FIGURE_SUFFIXES

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """What was read: the observation, what goes with it, and the SHA-256 of the files by the names of their options."""

    picture: Picture
    clean: Array | None
    mask: Mask | None
    protected: Mask | None
    digests: dict[str, str | None]


def read(job: Job, expected: Mapping[str, str | None]) -> Reading:
    """Read all inputs and check all outputs; where a preview is asked for, write the first.

    Parameters
    ----------
    job : Job
    expected : mapping
        SHA-256 that the files are to have, of a job that is done again.

    Raises
    ------
    DipsopError
        An input cannot be read, is not the one of the record, or an output cannot be written; nothing is.
    """
    picture = images.load(job.source)
    mask, mask_digest = (None, None) if job.mask is None else load_mask(job.mask, picture)
    protected, protect_digest = (None, None) if job.protect is None else load_mask(job.protect, picture)
    digests = {"source": picture.digest, "mask": mask_digest, "protect": protect_digest}
    for name, digest in digests.items():
        if name in expected and expected[name] != digest:
            raise DipsopError(f"{shown(getattr(job, name))} is not the file of the record: bring that one back.")
    clean = None if job.truth is None else load_truth(job.truth, picture)
    check_outputs(job, picture)
    if job.preview and not (job.resume and job.checkpoint and job.checkpoint.exists()):
        save_preview(job.preview, picture, first_estimate(eight_bits(picture.samples)))
    return Reading(picture, clean, mask, protected, digests)


def check_outputs(job: Job, picture: Picture) -> None:
    """Find out now, not after the fit, what stands in the way of writing."""
    check_apart(
        [job.source, job.truth, job.mask, job.protect],
        [job.out, job.corruption_map, job.trace, job.plot, job.preview, job.checkpoint, job.record],
    )
    images.check_writable(job.out, picture)
    shallow = Picture(samples=np.broadcast_to(np.uint8(0), picture.samples.shape))
    for path in (job.corruption_map, job.preview):
        if path:
            images.check_writable(path, shallow)
    for path in (job.trace, job.record):
        if path:
            check_suffix(path, (".json",))
    if job.plot:
        check_suffix(job.plot, FIGURE_SUFFIXES)
    if job.checkpoint:
        check_writable(job.checkpoint)


def save_preview(path: Path, picture: Picture, samples: NDArray[np.uint8]) -> None:
    """Write a picture so far, at 8 bits, in the colours of the observation."""
    images.save(path, Picture(samples=samples, icc_profile=picture.icc_profile))


def eight_bits(samples: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return samples of any depth at 8 bits."""
    deep = samples.dtype != np.uint8
    return (quantized(unit_values(samples), np.dtype(np.uint8)) if deep else samples).astype(np.uint8, copy=False)
