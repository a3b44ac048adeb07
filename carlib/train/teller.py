"""What a run prints of its epochs, and what their course warns of."""

from __future__ import annotations

from dataclasses import dataclass, field

from carlib.progress import say
from carlib.runfolder import Row
from carlib.train.ledger import Ledger
from carlib.watch import watch


@dataclass(slots=True)
class Teller:
    """Prints each finished epoch, and each kind of warning once a session.

    Args:
        ledger: Of the run.
        classes: How many there are.
        photos: How many validate.
    """

    ledger: Ledger
    classes: int
    photos: int
    warned: set[str] = field(default_factory=set)

    def tell(self, label: str, row: Row, timing: Row) -> None:
        """Print a finished epoch.

        Args:
            label: Phase and epoch.
            row: Of history.csv.
            timing: Of timings.csv.
        """
        checked = ""
        if "val_loss" in row:
            checked = (
                f"; validation loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}, "
                f"macro F1 {row['val_macro_f1']:.4f}"
            )
        seconds, wait = timing["seconds"], timing["wait"]
        say(
            f"{label}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}{checked}; "
            f"{seconds:.1f} s, {wait / max(seconds, 1e-9):.0%} of it waiting for photos"
        )
        for sentence in watch(self.ledger.history, self.classes, self.photos):
            kind = sentence.partition(":")[0]
            if kind not in self.warned:
                self.warned.add(kind)
                say(f"warning: {sentence}")
