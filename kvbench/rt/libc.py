"""System calls for kernels: libc's functions, callable compiled and interpreted, and cached on disk when compiled.

Pointers are plain integers from ``address``. Every call returns what libc returns; ``errno`` tells why it was -1.
Each function is a ctypes call with an overload that calls libc straight from machine code: numba can cache the
latter, while code that holds a ctypes pointer cannot be cached.
"""

import ctypes
import errno as _errno
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing import signature
from numba.extending import intrinsic, overload

EAGAIN = _errno.EAGAIN
EINTR = _errno.EINTR
EINPROGRESS = _errno.EINPROGRESS
ECONNREFUSED = _errno.ECONNREFUSED
ECONNRESET = _errno.ECONNRESET
EMFILE = _errno.EMFILE
EIO, ENOSPC, EDQUOT = _errno.EIO, _errno.ENOSPC, _errno.EDQUOT
ENFILE = _errno.ENFILE

AF_INET, AF_INET6 = 2, 10
SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC = 1, 0o4000, 0o2000000
SOL_SOCKET, SO_ERROR, SO_REUSEADDR, SO_SNDBUF, SO_RCVBUF, SO_LINGER = 1, 4, 2, 7, 8, 13
SO_TIMESTAMPNS = 35
SO_KEEPALIVE = 9
IPPROTO_TCP, TCP_NODELAY = 6, 1
EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP = 1, 4, 8, 16, 0x2000
EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
EPOLL_CLOEXEC = 0o2000000
EPOLLET = 1 << 31
CLOCK_MONOTONIC = 1
TIMER_ABSTIME = 1
TFD_NONBLOCK_CLOEXEC = 0o2004000
TFD_TIMER_ABSTIME = 1
MSG_NOSIGNAL = 0x4000
PR_SET_TIMERSLACK = 29
MADV_DONTNEED = 4

_lib = ctypes.CDLL(None, use_errno=True)
_I32, _I64, _SIZE, _PTR = ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p


def _declare(name: str, result: Any, *arguments: Any) -> tuple[Any, Any]:
    """The ctypes function and numba's external function of one libc symbol."""
    function = getattr(_lib, name)
    function.restype = result
    function.argtypes = arguments
    numba_types = {_I32: types.int32, _I64: types.int64, _SIZE: types.intp, _PTR: types.intp}
    sig = signature(numba_types[result], *(numba_types[argument] for argument in arguments))
    return function, types.ExternalFunction(name, sig)


def _wrap(function: Any, external: Any, arity: int) -> None:
    """Make compiled code that calls ``function`` call ``external``."""
    if arity == 1:
        overload(function)(lambda a: lambda a: external(a))
    elif arity == 2:
        overload(function)(lambda a, b: lambda a, b: external(a, b))
    elif arity == 3:
        overload(function)(lambda a, b, c: lambda a, b, c: external(a, b, c))
    elif arity == 4:
        overload(function)(lambda a, b, c, d: lambda a, b, c, d: external(a, b, c, d))
    elif arity == 5:
        overload(function)(lambda a, b, c, d, e: lambda a, b, c, d, e: external(a, b, c, d, e))
    else:
        raise ValueError(f"no wrapper for {arity} arguments")


_c_recv, _x_recv = _declare("recv", _I64, _I32, _PTR, _SIZE, _I32)
_c_recvmsg, _x_recvmsg = _declare("recvmsg", _I64, _I32, _PTR, _I32)
_c_send, _x_send = _declare("send", _I64, _I32, _PTR, _SIZE, _I32)
_c_socket, _x_socket = _declare("socket", _I32, _I32, _I32, _I32)
_c_connect, _x_connect = _declare("connect", _I32, _I32, _PTR, _I32)
_c_close, _x_close = _declare("close", _I32, _I32)
_c_accept4, _x_accept4 = _declare("accept4", _I32, _I32, _PTR, _PTR, _I32)
_c_setsockopt, _x_setsockopt = _declare("setsockopt", _I32, _I32, _I32, _I32, _PTR, _I32)
_c_getsockopt, _x_getsockopt = _declare("getsockopt", _I32, _I32, _I32, _I32, _PTR, _PTR)
_c_epoll_create1, _x_epoll_create1 = _declare("epoll_create1", _I32, _I32)
_c_epoll_ctl, _x_epoll_ctl = _declare("epoll_ctl", _I32, _I32, _I32, _I32, _PTR)
_c_epoll_pwait2, _x_epoll_pwait2 = _declare("epoll_pwait2", _I32, _I32, _PTR, _I32, _PTR, _PTR)
_c_timerfd_create, _x_timerfd_create = _declare("timerfd_create", _I32, _I32, _I32)
_c_timerfd_settime, _x_timerfd_settime = _declare("timerfd_settime", _I32, _I32, _I32, _PTR, _PTR)
_c_clock_gettime, _x_clock_gettime = _declare("clock_gettime", _I32, _I32, _PTR)
_c_read, _x_read = _declare("read", _I64, _I32, _PTR, _SIZE)
_c_write, _x_write = _declare("write", _I64, _I32, _PTR, _SIZE)
_c_pread, _x_pread = _declare("pread", _I64, _I32, _PTR, _SIZE, _I64)
_c_pwrite, _x_pwrite = _declare("pwrite", _I64, _I32, _PTR, _SIZE, _I64)
_c_fdatasync, _x_fdatasync = _declare("fdatasync", _I32, _I32)
_c_madvise, _x_madvise = _declare("madvise", _I32, _PTR, _SIZE, _I32)
_c_clock_nanosleep, _x_clock_nanosleep = _declare("clock_nanosleep", _I32, _I32, _I32, _PTR, _PTR)
_c_prctl, _x_prctl = _declare("prctl", _I32, _I32, _I64, _I64, _I64, _I64)


def recv(a: int, b: int, c: int, d: int) -> int:
    """recv(descriptor, pointer, size, flags)."""
    return int(_c_recv(a, b, c, d))


def recvmsg(a: int, b: int, c: int) -> int:
    """recvmsg(descriptor, pointer to a msghdr, flags)."""
    return int(_c_recvmsg(a, b, c))


def send(a: int, b: int, c: int, d: int) -> int:
    """send(descriptor, pointer, size, flags)."""
    return int(_c_send(a, b, c, d))


def socket(a: int, b: int, c: int) -> int:
    """socket(family, type, protocol)."""
    return int(_c_socket(a, b, c))


def connect(a: int, b: int, c: int) -> int:
    """connect(descriptor, pointer to the address, its size)."""
    return int(_c_connect(a, b, c))


def close(a: int) -> int:
    """close(descriptor)."""
    return int(_c_close(a))


def accept4(a: int, b: int, c: int, d: int) -> int:
    """accept4(descriptor, pointer to the address, pointer to its size, flags)."""
    return int(_c_accept4(a, b, c, d))


def setsockopt(a: int, b: int, c: int, d: int, e: int) -> int:
    """setsockopt(descriptor, level, name, pointer, size)."""
    return int(_c_setsockopt(a, b, c, d, e))


def getsockopt(a: int, b: int, c: int, d: int, e: int) -> int:
    """getsockopt(descriptor, level, name, pointer, pointer to the size)."""
    return int(_c_getsockopt(a, b, c, d, e))


def epoll_create1(a: int) -> int:
    """epoll_create1(flags)."""
    return int(_c_epoll_create1(a))


def epoll_ctl(a: int, b: int, c: int, d: int) -> int:
    """epoll_ctl(epoll descriptor, operation, descriptor, pointer to a 12-byte packed epoll_event)."""
    return int(_c_epoll_ctl(a, b, c, d))


def epoll_pwait2(a: int, b: int, c: int, d: int, e: int) -> int:
    """epoll_pwait2(epoll descriptor, events, most events, pointer to a timespec or 0, pointer to a mask or 0)."""
    return int(_c_epoll_pwait2(a, b, c, d, e))


def timerfd_create(a: int, b: int) -> int:
    """timerfd_create(clock, flags)."""
    return int(_c_timerfd_create(a, b))


def timerfd_settime(a: int, b: int, c: int, d: int) -> int:
    """timerfd_settime(descriptor, flags, pointer to an itimerspec, pointer to the former one or 0)."""
    return int(_c_timerfd_settime(a, b, c, d))


def clock_gettime(a: int, b: int) -> int:
    """clock_gettime(clock, pointer to a timespec)."""
    return int(_c_clock_gettime(a, b))


def clock_nanosleep(a: int, b: int, c: int, d: int) -> int:
    """clock_nanosleep(clock, flags, pointer to a timespec, pointer to what is left or 0); an errno, not -1."""
    return int(_c_clock_nanosleep(a, b, c, d))


def prctl(a: int, b: int, c: int, d: int, e: int) -> int:
    """prctl(option, four arguments)."""
    return int(_c_prctl(a, b, c, d, e))


def read(a: int, b: int, c: int) -> int:
    """read(descriptor, pointer, size)."""
    return int(_c_read(a, b, c))


def write(a: int, b: int, c: int) -> int:
    """write(descriptor, pointer, size)."""
    return int(_c_write(a, b, c))


def pread(a: int, b: int, c: int, d: int) -> int:
    """pread(descriptor, pointer, size, offset)."""
    return int(_c_pread(a, b, c, d))


def pwrite(a: int, b: int, c: int, d: int) -> int:
    """pwrite(descriptor, pointer, size, offset)."""
    return int(_c_pwrite(a, b, c, d))


def fdatasync(a: int) -> int:
    """fdatasync(descriptor)."""
    return int(_c_fdatasync(a))


def madvise(a: int, b: int, c: int) -> int:
    """madvise(pointer, size, advice)."""
    return int(_c_madvise(a, b, c))


_wrap(recv, _x_recv, 4)
_wrap(recvmsg, _x_recvmsg, 3)
_wrap(send, _x_send, 4)
_wrap(socket, _x_socket, 3)
_wrap(connect, _x_connect, 3)
_wrap(close, _x_close, 1)
_wrap(accept4, _x_accept4, 4)
_wrap(setsockopt, _x_setsockopt, 5)
_wrap(getsockopt, _x_getsockopt, 5)
_wrap(epoll_create1, _x_epoll_create1, 1)
_wrap(epoll_ctl, _x_epoll_ctl, 4)
_wrap(epoll_pwait2, _x_epoll_pwait2, 5)
_wrap(timerfd_create, _x_timerfd_create, 2)
_wrap(timerfd_settime, _x_timerfd_settime, 4)
_wrap(clock_gettime, _x_clock_gettime, 2)
_wrap(clock_nanosleep, _x_clock_nanosleep, 4)
_wrap(prctl, _x_prctl, 5)
_wrap(read, _x_read, 3)
_wrap(write, _x_write, 3)
_wrap(pread, _x_pread, 4)
_wrap(pwrite, _x_pwrite, 4)
_wrap(fdatasync, _x_fdatasync, 1)
_wrap(madvise, _x_madvise, 3)

_x_errno_location = types.ExternalFunction("__errno_location", types.intp())


@intrinsic
def _load_i32(typing_context: Any, pointer: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = builder.inttoptr(args[0], ir.IntType(32).as_pointer())
        return builder.sext(builder.load(at), ir.IntType(64))

    return signature(types.int64, types.intp), generate


def errno() -> int:
    """Why the last call of this thread failed."""
    return ctypes.get_errno()


@overload(errno, strict=False)
def _overload_errno() -> Any:
    return lambda: _load_i32(_x_errno_location())


def address(array: Any, offset: int) -> int:
    """Pointer to byte ``offset`` of an array. The caller keeps the array alive while the pointer is in use."""
    return int(array.ctypes.data) + offset


@overload(address, strict=False)
def _overload_address(array: Any, offset: Any) -> Any:
    return lambda array, offset: array.ctypes.data + offset
