"""A step written down as operations on tensors, and what is alive while it runs.

Only sizes are kept. As in TensorFlow's kernels, an operation's output and scratch are there
before its inputs go, a tensor goes with its last reader, and an element-wise operation writes
into an input that nobody else needs. Operations run in the order in which they are written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tensor:
    """A tensor of the step.

    Args:
        layer: That makes it.
        what: It is to the layer.
        nbytes: Its size.
        term: "activations", "weights" (copies), "gradients" (of weights), "transients" or "input".
    """

    layer: str
    what: str
    nbytes: int
    term: str


@dataclass(slots=True)
class Operation:
    """One operation.

    Args:
        inputs: Tensors it reads.
        output: Tensor it makes, which may be of no size.
        scratch: Bytes it holds while it runs.
        reuse: Inputs whose memory the output may take.
        backward: It belongs to the backward pass.
    """

    inputs: tuple[int, ...]
    output: int
    scratch: int
    reuse: tuple[int, ...]
    backward: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """What an operation does to memory when its turn comes.

    Args:
        made: The tensor it makes.
        nbytes: New bytes of that; 0 where it takes over another's.
        taken: The tensor whose memory it takes over, or None.
        scratch: Bytes it holds while it runs.
        done: Tensors that go when it has run.
    """

    made: int
    nbytes: int
    taken: int | None
    scratch: int
    done: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment at which most is alive.

    Args:
        nbytes: All tensors, and the scratch of the operation that runs.
        layer: Whose operation runs.
        what: It does.
        scratch: Bytes of its scratch.
        alive: Tensors, largest first.
        backward: Whether it belongs to the backward pass.
    """

    nbytes: int
    layer: str
    what: str
    scratch: int
    alive: tuple[Tensor, ...]
    backward: bool


@dataclass(slots=True)
class Tape:
    """Writes operations down; ``peak`` runs them.

    >>> tape = Tape()
    >>> photos = tape.run("photos", "input", [], 100)
    >>> features = tape.run("conv", "output", [photos], 300)
    >>> tape.run("relu", "output", [features], 300, reuse=[features])
    2
    >>> tape.peak().nbytes
    400
    """

    tensors: list[Tensor] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    backward: bool = False  # what is written now belongs to the backward pass

    def run(
        self,
        layer: str,
        what: str,
        inputs: Sequence[int],
        nbytes: int = 0,
        *,
        scratch: int = 0,
        reuse: Sequence[int] = (),
        term: str = "",
    ) -> int:
        """Write an operation down and return its output.

        Args:
            layer: Whose it is.
            what: Its output is to the layer.
            inputs: Tensors it reads, made before.
            nbytes: Of its output; 0 for one too small to count. Defaults to 0.
            scratch: Bytes it holds while it runs. Defaults to 0.
            reuse: Inputs whose memory the output takes where nobody reads them afterwards and
                the size is the same, the best first.
            term: Of the output. Defaults to "activations" forward, "transients" backward.
        """
        term = term or ("transients" if self.backward else "activations")
        self.tensors.append(Tensor(layer, what, nbytes, term))
        output = len(self.tensors) - 1
        self.operations.append(
            Operation(tuple(inputs), output, scratch, tuple(reuse), self.backward)
        )
        return output

    def peak(self) -> Peak:
        """Run the operations and return the moment at which most is alive."""
        most, at = -1, 0
        for number, (now, _) in enumerate(self._moments()):
            if now > most:
                most, at = now, number
        if most < 0:
            return Peak(0, "", "", 0, (), False)
        _, alive = next(itertools.islice(self._moments(), at, None))
        operation = self.operations[at]
        running = self.tensors[operation.output]
        tensors = sorted((self.tensors[each] for each in alive), key=lambda each: -each.nbytes)
        return Peak(
            most,
            running.layer,
            running.what,
            operation.scratch,
            tuple(each for each in tensors if each.nbytes),
            operation.backward,
        )

    def turns(self) -> Iterator[Turn]:
        """Yield what each operation does to memory."""
        readers = [0] * len(self.tensors)
        for operation in self.operations:
            for tensor in set(operation.inputs):
                readers[tensor] += 1
        sizes = [tensor.nbytes for tensor in self.tensors]
        alive = set[int]()
        for operation in self.operations:
            made, taken = operation.output, None
            for tensor in operation.reuse:
                if readers[tensor] == 1 and tensor in alive and sizes[tensor] == sizes[made]:
                    taken = tensor
                    alive.remove(tensor)
                    break
            alive.add(made)
            for tensor in set(operation.inputs):
                readers[tensor] -= 1
            done = {t for t in (*operation.inputs, made) if not readers[t] and t in alive}
            alive -= done
            nbytes = 0 if taken is not None else sizes[made]
            yield Turn(made, nbytes, taken, operation.scratch, tuple(sorted(done)))

    def _moments(self) -> Iterator[tuple[int, set[int]]]:
        """Yield of each operation what is held while it runs: bytes, and the tensors."""
        now, alive = 0, set[int]()
        for turn in self.turns():
            now += turn.nbytes
            alive.discard(-1 if turn.taken is None else turn.taken)
            alive.add(turn.made)
            yield now + turn.scratch, alive
            alive -= set(turn.done)
            now -= sum(self.tensors[tensor].nbytes for tensor in turn.done)
