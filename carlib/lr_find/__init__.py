"""A learning rate from a short sweep: the loss over rates that rise step by step."""

from carlib.lr_find.curve import Curve

__all__ = ["Curve"]
