"""Maximum flow and minimum cut in a small network of whole numbers.

Source: Dinic, "Algorithm for solution of a problem of maximum flow in networks with power estimation" (1970).
"""

from __future__ import annotations

__all__ = ["Network"]


class Network:
    """Places 0 … n−1 and the room left on each connection between them."""

    def __init__(self, places: int) -> None:
        self._ends: list[int] = []
        self._room: list[int] = []
        self._from: list[list[int]] = [[] for _ in range(places)]

    def connect(self, a: int, b: int, room: int) -> None:
        """A connection from a to b; its reverse is the next number."""
        for start, end, left in ((a, b, room), (b, a, 0)):
            self._from[start].append(len(self._ends))
            self._ends.append(end)
            self._room.append(left)

    def saturate(self, source: int, sink: int) -> int:
        """Push as much as possible from source to sink; how much that is."""
        total = 0
        while (level := self._levels(source))[sink] >= 0:
            at = [0] * len(self._from)
            while pushed := self._push(source, sink, level, at):
                total += pushed
        return total

    def _levels(self, source: int) -> list[int]:
        level = [-1] * len(self._from)
        level[source], queue = 0, [source]
        for a in queue:
            for c in self._from[a]:
                if self._room[c] and level[self._ends[c]] < 0:
                    level[self._ends[c]] = level[a] + 1
                    queue.append(self._ends[c])
        return level

    def _push(self, source: int, sink: int, level: list[int], at: list[int]) -> int:
        """One path along rising levels; dead ends are left out from then on."""
        path: list[int] = []
        a = source
        while a != sink:
            if at[a] == len(self._from[a]):
                if not path:
                    return 0
                a = self._ends[path.pop() ^ 1]
                at[a] += 1
                continue
            c = self._from[a][at[a]]
            if self._room[c] and level[self._ends[c]] == level[a] + 1:
                path.append(c)
                a = self._ends[c]
            else:
                at[a] += 1
        pushed = min(self._room[c] for c in path)
        for c in path:
            self._room[c] -= pushed
            self._room[c ^ 1] += pushed
        return pushed

    def away_from(self, sink: int) -> set[int]:
        """The places from which the sink cannot be reached any more: the source's side of the latest minimum cut."""
        reach, queue = {sink}, [sink]
        for b in queue:
            for c in self._from[b]:
                a = self._ends[c]
                if self._room[c ^ 1] and a not in reach:
                    reach.add(a)
                    queue.append(a)
        return set(range(len(self._from))) - reach
