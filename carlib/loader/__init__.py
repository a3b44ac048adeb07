"""Photos in the order of an epoch, as numpy batches, made by threads or processes.

An item is a function of (seed, epoch, index) over a catalog, and of nothing else: not
of workers, of the batch size, of which finished first, or of the step an epoch is resumed at.
No TensorFlow here: spawned workers start in a second and hold no model.
"""

from carlib.loader.epochs import AHEAD, Batch, Loader
from carlib.loader.items import Items, View
from carlib.loader.workers import RESTARTS, Workers

__all__ = ["AHEAD", "RESTARTS", "Batch", "Items", "Loader", "View", "Workers"]
