"""Training: the only phase loop, what a run writes down, and where it starts."""

from carlib.train.outcome import Outcome
from carlib.train.run import train_model

__all__ = ["Outcome", "train_model"]
