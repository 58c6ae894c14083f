"""What an analysis has freed goes back to the system, in whichever thread it ran."""

import subprocess
import sys

import pytest

# in a process of its own: how threads take memory is settled once
MEASURE = """
import sys, threading
from pathlib import Path
from services.memory import give_back, share_one_arena

def resident_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024

def analyse():
    large = bytearray(b"x") * 30_000_000
    del large  # from now on the C library keeps blocks of this size to itself
    freed = []
    for number in range(200):
        freed.append(bytearray(b"x") * 500_000)
        stays.append(bytearray(b"y") * (20_000 + number))
    # and so the end of what is freed is the end of the arena
    freed.append(bytearray(b"x") * 20_000_000)

stays = []
if "shared" in sys.argv:
    share_one_arena()
before = resident_mb()
thread = threading.Thread(target=analyse)
thread.start()
thread.join()
if "given" in sys.argv:
    give_back()
print(resident_mb() - before)
"""


def kept_mb(*how: str) -> float:
    """What is left, of 130 MB, after an analysis in a thread; 4 MB of it are in use."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *how], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_what_an_analysis_has_freed_is_given_back():
    assert kept_mb("shared", "given") < 12
    assert kept_mb("shared") > 40
    assert kept_mb("given") > 16


# allocations as a network makes them, larger than the 32 MiB above which the C library never keeps a block by itself
LAYERS = """
import ctypes, resource, sys, threading
from contextlib import nullcontext
from pathlib import Path
from services.memory import reused, share_one_arena

def resident_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def layers():
    for _ in range(20):
        ctypes.memset(block := libc.malloc(SIZE), 1, SIZE)
        libc.free(block)

SIZE = 60_000_000
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
ctypes.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
share_one_arena()
before, first = resident_mb(), faults()
try:
    with reused() if "reused" in sys.argv else nullcontext():
        with reused():
            pass  # the inner one ends nothing
        threads = [threading.Thread(target=layers) for _ in range(int(sys.argv[1]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if "broken" in sys.argv:
            raise ZeroDivisionError
except ZeroDivisionError:
    pass
within = faults() - first
after = resident_mb() - before
first = faults()
layers()
print(within, after, faults() - first)
"""


def layers(threads: int, *how: str) -> tuple[float, float, float]:
    """Page faults of 20 layers of 60 MB in each thread; MB that are left; page faults of 20 more afterwards."""
    command = [sys.executable, "-c", LAYERS, str(threads), *how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    within, left_mb, later = map(float, done.stdout.split())
    return within, left_mb, later


@pytest.mark.parametrize(("threads", "how"), [(1, ()), (3, ()), (1, ("broken",))])
def test_layers_use_the_memory_of_those_before_and_none_of_it_is_left(threads: int, how: tuple[str, ...]):
    alone, _, _ = layers(1)
    within, left_mb, later = layers(threads, "reused", *how)
    assert within < alone / 3 * threads
    assert left_mb < 12
    assert later > alone / 2  # the setting is as it was
