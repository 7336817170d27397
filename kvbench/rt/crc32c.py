"""CRC32C (Castagnoli; RFC 3720, appendix B.4): the checksum of everything on disk and between members.

On x86-64 it is SSE4.2's instruction, 8 bytes a step; on other machines, and interpreted, it is eight tables of 256
("slicing by 8": Kounavis and Berry, "A systematic approach to building high performance software-based CRC
generators", 2005). Which one is settled when this module is imported, by the features that numba compiles for; compiled
code is cached by these too, so that a cache carried to another machine is not used there.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import config, types
from numba.core.codegen import get_host_cpu_features
from numba.core.typing import signature
from numba.extending import intrinsic

from kvbench.jit import JIT_ENABLED, kernel
from kvbench.rt.buffer import load_le64

POLYNOMIAL = 0x82F63B78
"""x^32 + x^28 + x^27 + ... + 1 without its first term, lowest power in the highest bit."""
MASK = 0xFFFFFFFF


def has_instruction() -> bool:
    """Whether compiled code may use the instruction: without it LLVM would end the process while compiling.

    LLVM counts it as a feature of its own, which every machine with SSE4.2 has.
    """
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return JIT_ENABLED and {"+sse4.2", "+crc32"} <= set(features.split(","))


def _tables() -> Any:
    """int64[8 * 256]: entry 256 * i + b is the checksum register after byte b and then i zero bytes."""
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ POLYNOMIAL, table >> 1)
    tables = [table]
    for _ in range(7):
        tables.append(table[tables[-1] & 255] ^ (tables[-1] >> 8))
    return np.concatenate(tables)


_TABLES = _tables()


@intrinsic
def _step(typing_context: Any, register: Any, word: Any) -> Any:
    """The register (int64, its low 32 bits) after 8 more bytes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name, word = "llvm.x86.sse42.crc32.64.64", ir.IntType(64)
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(word, [word, word]), name)
        return builder.call(function, args)

    return signature(types.int64, types.int64, types.int64), generate


@kernel
def crc32c_by_instruction(buf: Any, at: int, size: int, seed: int) -> int:
    """``crc32c`` where ``has_instruction``."""
    register = seed ^ MASK
    words = size >> 3
    for i in range(words):
        register = _step(register, load_le64(buf, at + 8 * i))
    for i in range(at + 8 * words, at + size):
        register = int(_TABLES[(register ^ int(buf[i])) & 255]) ^ (register >> 8)
    return register ^ MASK


@kernel
def crc32c_by_table(buf: Any, at: int, size: int, seed: int) -> int:
    """``crc32c`` anywhere."""
    register = seed ^ MASK
    words = size >> 3
    for i in range(words):
        word = load_le64(buf, at + 8 * i)
        low = register ^ (word & MASK)
        high = (word >> 32) & MASK
        register = (
            int(_TABLES[1792 + (low & 255)])
            ^ int(_TABLES[1536 + (low >> 8 & 255)])
            ^ int(_TABLES[1280 + (low >> 16 & 255)])
            ^ int(_TABLES[1024 + (low >> 24)])
            ^ int(_TABLES[768 + (high & 255)])
            ^ int(_TABLES[512 + (high >> 8 & 255)])
            ^ int(_TABLES[256 + (high >> 16 & 255)])
            ^ int(_TABLES[high >> 24])
        )
    for i in range(at + 8 * words, at + size):
        register = int(_TABLES[(register ^ int(buf[i])) & 255]) ^ (register >> 8)
    return register ^ MASK


crc32c = crc32c_by_instruction if has_instruction() else crc32c_by_table
"""crc32c(buf, at, size, seed): checksum (0 .. 2**32 - 1) of ``size`` bytes from ``buf[at]`` on, after bytes whose
checksum is ``seed`` (0: none before)."""
