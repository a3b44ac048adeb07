"""A chain of kernel sessions, driven from outside until the run is done."""

from carlib.kaggle.chain.diary import Diary, Plan, Turn, open_diary
from carlib.kaggle.chain.drive import Ending, drive_chain
from carlib.kaggle.chain.rehearsal import Rehearsal

__all__ = ["Diary", "Ending", "Plan", "Rehearsal", "Turn", "drive_chain", "open_diary"]
