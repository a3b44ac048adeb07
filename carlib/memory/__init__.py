"""What a recipe needs in memory, by term, before its first step."""

from carlib.memory.estimate import estimate_memory
from carlib.memory.fit import largest_batch
from carlib.memory.noun import TERMS, Forecast, Holder, Need, Regime

__all__ = ["TERMS", "Forecast", "Holder", "Need", "Regime", "estimate_memory", "largest_batch"]
