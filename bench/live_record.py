"""What the record of bench/live_client.cc says: gaps without an answer, and pages written between two times.

Times are ns of CLOCK_MONOTONIC, as time.monotonic_ns() has them.
"""

import array
import bisect
import statistics

RECORD_BYTES = 24


class Record:
    """The answers of a client, in their order."""

    def __init__(self, path):
        words = array.array("Q", path.read_bytes())
        if words.itemsize * 3 != RECORD_BYTES or len(words) % 3 != 0:
            raise ValueError(f"{path}: not a whole number of records")
        self.sent = words[0::3]
        self.answered = words[1::3]
        last = words[2::3]
        # Gaps are between writes that were done.
        self.refusals = [(self.answered[i], i) for i, one in enumerate(last) if one >> 32]
        refused = {i for _, i in self.refusals}
        self.done = array.array("Q", (at for i, at in enumerate(self.answered) if i not in refused))
        self.done_sent = array.array("Q", (at for i, at in enumerate(self.sent) if i not in refused))
        self.pages = array.array("Q", (one & 0xffffffff for i, one in enumerate(last)
                                       if i not in refused))

    def gaps(self, begin, end):
        """Of at least half a millisecond: [(length, from, to)], those first that are longest. A gap belongs to
        the time in which it ends."""
        first, last = bisect.bisect_left(self.done, begin), bisect.bisect_right(self.done, end)
        found = []
        for i in range(max(first, 1), last):
            length = self.done[i] - self.done[i - 1]
            if length >= 500_000:
                found.append((length, self.done[i - 1], self.done[i]))
        return sorted(found, reverse=True)

    def longest_gap(self, begin, end):
        first, last = bisect.bisect_left(self.done, begin), bisect.bisect_right(self.done, end)
        return max((self.done[i] - self.done[i - 1] for i in range(max(first, 1), last)), default=0)

    def switch(self, begin, end):
        """The gap over a move: when the last write before it was answered, when the first refusal came (None
        where there is none), when the first write after it was answered."""
        refused = [at for at, _ in self.refusals if begin <= at <= end]
        if not refused:
            return None
        after = bisect.bisect_right(self.done, refused[-1])
        before = bisect.bisect_left(self.done, refused[0])
        return self.done[before - 1], refused[0], self.done[after]

    def writes_per_second(self, begin, end):
        first, last = bisect.bisect_left(self.done, begin), bisect.bisect_right(self.done, end)
        return (last - first) * 1e9 / (end - begin)

    def latency_us(self, begin, end, share):
        first, last = bisect.bisect_left(self.done, begin), bisect.bisect_right(self.done, end)
        times = sorted(self.done[i] - self.done_sent[i] for i in range(first, last))
        return times[min(len(times) - 1, int(len(times) * share))] / 1000 if times else 0

    def unique_pages(self, begin, end):
        """How many pages were written at least once, by writes answered from begin to before end."""
        first, last = bisect.bisect_left(self.done, begin), bisect.bisect_left(self.done, end)
        return len(set(self.pages[first:last]))


def summary(values):
    values = list(values)
    return {"median": statistics.median(values), "worst": max(values), "count": len(values)}
