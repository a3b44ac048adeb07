"""What ``import carlib`` and ``carlib --help`` cost beside python itself.

    python benchmarks/startup.py

Medians of 15 runs each, in turn, after one that is not counted.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import carlib": [sys.executable, "-c", "import carlib"],
    "carlib --help": [str(Path(sys.executable).with_name("carlib")), "--help"],
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(RUNS + 1):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if run:
                seconds[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:14s} {value:.3f} s")
    print(f"import carlib: {median['import carlib'] - median['python']:.3f} s more than python")


if __name__ == "__main__":
    main()
