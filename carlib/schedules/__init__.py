"""Optimizers and learning-rate schedules by name, of Keras' own parts; patience that resumes."""

from carlib.schedules.curves import SCHEDULES, lr_of, make_schedule
from carlib.schedules.optimizers import OPTIMIZERS, make_optimizer
from carlib.schedules.own import add_schedule
from carlib.schedules.patience import Patience, is_better

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Patience",
    "add_schedule",
    "is_better",
    "lr_of",
    "make_optimizer",
    "make_schedule",
]
