"""What a recipe needs in memory, by term, before its first step."""

from carlib.memory.noun import Forecast, Holder, Need, Regime

__all__ = ["Forecast", "Holder", "Need", "Regime"]
