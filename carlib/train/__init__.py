"""Training: the only phase loop, what a run writes down, and where it starts."""

from carlib.train.loop import train_model
from carlib.train.outcome import Outcome

__all__ = ["Outcome", "train_model"]
