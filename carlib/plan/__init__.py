"""What a recipe takes in hours, before it is trained, and how a run stands against that.

``plan_run`` lies in ``carlib.plan.make``: planning loads TensorFlow, reading a run does not.
"""

from carlib.plan.noun import Change, Pace, Plan, Stretch, Work
from carlib.plan.spent import Standing, keep_plan, standing
from carlib.plan.text import compare, describe, line_of, told

__all__ = [
    "Change",
    "Pace",
    "Plan",
    "Standing",
    "Stretch",
    "Work",
    "compare",
    "describe",
    "keep_plan",
    "line_of",
    "standing",
    "told",
]
