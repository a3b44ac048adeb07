"""Experiments: recipes held against a base, with the same seeds and folds, and what can be said.

No room of it loads TensorFlow: each run is a process of its own (``carlib.experiments.child``).
"""

from carlib.experiments.noun import Arm, Experiment, Search
from carlib.experiments.output import write_tables
from carlib.experiments.reading import read_experiment
from carlib.experiments.run import Ending, Photos, run_experiment
from carlib.experiments.table import Table, table_of, tables_of

__all__ = [
    "Arm",
    "Ending",
    "Experiment",
    "Photos",
    "Search",
    "Table",
    "read_experiment",
    "run_experiment",
    "table_of",
    "tables_of",
    "write_tables",
]
