"""A local Kaggle: the real client speaks to it, and what is pushed really runs.

with LocalKaggle(folder) as kaggle:
    environment = {**os.environ, **kaggle.environment}
    subprocess.run([sys.executable, "-m", "kaggle", "kernels", "push"], env=environment)
    kaggle.wait("alice/photos").status
"""

from .faults import Fault
from .image import make_image
from .real import refused
from .server import LocalKaggle
from .sessions import Run
from .things import Dataset, DatasetVersion, Kernel, Version

__all__ = [
    "Dataset",
    "DatasetVersion",
    "Fault",
    "Kernel",
    "LocalKaggle",
    "Run",
    "Version",
    "make_image",
    "refused",
]
