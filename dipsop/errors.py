"""What can go wrong outside the code: one sentence each, with the remedy in it."""


class DipsopError(Exception):
    """The world's fault (a file, a disk, a divergence), said in one sentence that names the remedy."""


class ImageError(DipsopError):
    """A picture cannot be read or written."""


class DataError(DipsopError):
    """Labelled data cannot be read, or cannot be trained on."""


class DivergenceError(DipsopError):
    """The loss is no longer a finite number."""
