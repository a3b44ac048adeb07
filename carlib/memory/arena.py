"""Whether a step runs in a region of memory, given out as TensorFlow's allocator gives it out.

TensorFlow keeps one region and gives each tensor the smallest free chunk that holds it; it cuts the
chunk only where that is twice the tensor or 128 MB larger, and joins free neighbours
(bfc_allocator.cc of TensorFlow). So some steps leave chunks between tensors that nothing fits into:
how many is a matter of their order and sizes, and no share of what they ask for.
"""

from __future__ import annotations

import bisect

from carlib.memory.tape import Tape

ALIGNED = 256  # bytes
WHOLE = 128 * 2**20  # bytes of a rest that is always cut off


class Arena:
    """A region of memory, all of it free at first.

    Args:
        nbytes: Its size.

    >>> arena = Arena(1024)
    >>> arena.take(512), arena.take(600)
    (0, None)
    """

    def __init__(self, nbytes: int):
        self._free: list[tuple[int, int]] = []  # (size, address), smallest first
        self._sizes: dict[int, int] = {}  # of free chunks, by address
        self._begins: dict[int, int] = {}  # addresses of free chunks, by where they end
        self._used: dict[int, int] = {}
        self._add(0, nbytes)

    def take(self, nbytes: int) -> int | None:
        """Return the address of a chunk for a tensor, None where no free one holds it."""
        wanted = max(1, -(-nbytes // ALIGNED)) * ALIGNED
        place = bisect.bisect_left(self._free, (wanted, -1))
        if place == len(self._free):
            return None
        size, address = self._free[place]
        self._remove(address)
        if size >= 2 * wanted or size - wanted >= WHOLE:
            self._add(address + wanted, size - wanted)
            size = wanted
        self._used[address] = size
        return address

    def give_back(self, address: int) -> None:
        """Free a chunk and join it with its free neighbours."""
        size = self._used.pop(address)
        if address + size in self._sizes:
            size += self._remove(address + size)
        if address in self._begins:
            before = self._begins[address]
            size += self._remove(before)
            address = before
        self._add(address, size)

    def _add(self, address: int, size: int) -> None:
        bisect.insort(self._free, (size, address))
        self._sizes[address], self._begins[address + size] = size, address

    def _remove(self, address: int) -> int:
        size = self._sizes.pop(address)
        del self._begins[address + size]
        self._free.pop(bisect.bisect_left(self._free, (size, address)))
        return size


def runs_in(tape: Tape, fixed: int, nbytes: int) -> bool:
    """Whether a step runs in a region.

    Args:
        tape: Of the step.
        fixed: Bytes of what is there all along, in small pieces side by side.
        nbytes: Of the region.

    >>> tape = Tape()
    >>> features = tape.run("conv", "output", [], 2048)
    >>> runs_in(tape, 1024, 3072), runs_in(tape, 1024, 3000)
    (True, False)
    """
    if nbytes < fixed:
        return False
    arena = Arena(nbytes - fixed)
    places: dict[int, int] = {}
    for turn in tape.turns():
        if turn.taken in places:
            places[turn.made] = places.pop(turn.taken)
        for tensor, size in ((turn.made, turn.nbytes), (-1, turn.scratch)):
            if size:
                place = arena.take(size)
                if place is None:
                    return False
                places[tensor] = place
        for tensor in (-1, *turn.done):
            if tensor in places:
                arena.give_back(places.pop(tensor))
    return True
