"""xdist's `--dist loadfile`, for the case that a worker dies: with pytest-xdist 3.8.0 the run may then wait for ever.

It gives others the files which the dead worker had finished, and files of one test to a worker that waits for a second
one (pytest-xdist issues 1323, 1327 and 1378; their mends are not released). To go when they are.
"""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


class LoadFile(LoadFileScheduling):
    """Others run what a dead worker had before it; the test that it died of, only where a test may be tried again."""

    def remove_node(self, node: WorkerController) -> str | None:
        """The test that it died of, if it had any to run."""
        units = self.assigned_work.pop(node)
        left = {file: unit for file, unit in units.items() if not all(unit.values())}
        crashed = next((test for unit in left.values() for test, done in unit.items() if not done), None)
        for unit in left.values():
            if crashed in unit:
                unit[crashed] = True
        self.workqueue.update((file, unit) for file, unit in left.items() if not all(unit.values()))
        return crashed

    def mark_test_pending(self, item: str) -> None:  # type: ignore[override]  # xdist's raises NotImplementedError
        """Have a test run again: pytest-rerunfailures asks for it, at once after `remove_node`."""
        self.workqueue.setdefault(self._split_scope(item), {})[item] = False

    def schedule(self) -> None:
        """Give out the files; again, to the successor of a dead worker."""
        has_begun = self.collection is not None
        super().schedule()
        if has_begun:
            for node in self.nodes:  # a second file, or word that there is none: it waits for either
                self._reschedule(node)
