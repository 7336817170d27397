"""A small footprint: what a serving process gives back of the memory that starting it took."""

import ctypes
import gc
import mmap
from typing import NamedTuple


class Mapping(NamedTuple):
    """A stretch of a process's memory that holds a file."""

    start: int
    size: int
    resident_bytes: int
    is_clean: bool
    """Nothing in it differs from the file, and it cannot be written to."""


def file_mappings() -> list[Mapping]:
    """The mappings of files of this process (proc(5), smaps)."""
    found: list[Mapping] = []
    where = ""
    numbers: dict[str, int] = {}

    def finish() -> None:
        fields = where.split(maxsplit=5)
        if len(fields) < 6 or not fields[5].startswith("/"):
            return
        first, last = (int(one, 16) for one in fields[0].split("-"))
        is_clean = "w" not in fields[1] and numbers.get("Anonymous", 1) == 0
        found.append(Mapping(first, last - first, numbers.get("Rss", 0) * 1024, is_clean))

    with open("/proc/self/smaps") as file:
        for line in file:
            name, colon, rest = line.partition(":")
            if colon and " " not in name:
                value = rest.split()
                if len(value) == 2 and value[1] == "kB":
                    numbers[name] = int(value[0])
                continue
            finish()
            where, numbers = line, {}
    finish()
    return found


def give_back_file_pages() -> int:
    """Let go of the pages of files that are mapped here and unchanged. Returns their bytes.

    They stay in the kernel's cache and come back when they are touched. Most are LLVM's, which has done its work once
    machine code is loaded, and which alone is as large as all the rest of an empty member.
    """
    gc.collect()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.malloc_trim(0)
    given = 0
    for one in file_mappings():
        if one.is_clean and one.resident_bytes and libc.madvise(one.start, one.size, mmap.MADV_DONTNEED) == 0:
            given += one.resident_bytes
    return given
