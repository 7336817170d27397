"""numba's decorators, cache stamps and first-time compilation: the one place that sets how kernels are compiled.

A kernel's cached machine code is valid as long as no file changed in its own package and in the packages below it
(``KERNEL_LAYERS``), because a callee's code is inlined into its callers. numba itself looks at one file only.
"""

import fcntl
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import ir
from llvmlite.binding import Linkage, parse_assembly
from numba.core import caching, codegen, compiler, config, funcdesc
from numba.core.typing import make_concrete_template

from kvbench import jit_tuples

F = TypeVar("F", bound=Callable[..., Any])

JIT_ENABLED: bool = not config.DISABLE_JIT
BOUNDSCHECK: bool = bool(config.BOUNDSCHECK)
"""Whether compiled code checks indexes, and the primitives of ``rt.buffer`` theirs."""
PACKAGE_ROOT = Path(__file__).absolute().parent

KERNEL_LAYERS: dict[str, tuple[str, ...]] = {
    "rt": (),
    "ops": ("rt",),
    "wire": ("ops", "rt"),
    "net": ("ops", "rt"),
    "client": ("wire", "net", "ops", "rt"),
    "load": ("client", "wire", "net", "ops", "rt"),
    "server": ("node", "raft", "log", "store", "wire", "net", "ops", "rt"),
    "raft": ("ops", "rt"),
    "log": ("ops", "rt"),
    "store": ("wire", "ops", "rt"),
    "node": ("raft", "log", "store", "wire", "ops", "rt"),
    "check": ("ops", "rt"),
    "sim": ("node", "raft", "log", "store", "wire", "check", "ops", "rt"),
}
"""Packages with kernels, and the packages whose kernels each may call."""


LOCK_NAME = "lock"
"""File in each folder of machine code that a process locks while it reads or writes there."""
VOID_FUNCTION = ir.FunctionType(ir.VoidType(), [])
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Kernels allocate nothing, so numba's counting of references (a pair of instructions per array and call) is off."""


NAME_BYTES_MAX = 200
"""Longest names of argument types that stand in the name of a function's machine code as they are."""


def short_name(name: str, kinds: Sequence[Any], *, abi_tags: Sequence[str] = (), uid: int | None = None) -> str:
    """A symbol's name as numba makes it, with a hash where its argument types have names of kilobytes.

    A record's type is named by all its fields, and a subsystem's NamedTuple by all its records: LLVM would get, sort
    and keep such a name for each function and each call.
    """
    names = [str(kind) for kind in kinds]
    if sum(map(len, names)) <= NAME_BYTES_MAX:
        return str(funcdesc.default_mangler(name, kinds, abi_tags=abi_tags, uid=uid))
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:24]
    return str(funcdesc.default_mangler(name, (), abi_tags=(*abi_tags, digest), uid=uid))


def entry_name(name: str, kinds: Sequence[Any], *, abi_tags: Sequence[str] = (), uid: int | None = None) -> str:
    """``short_name`` without numba's count of compilations: code in the cache finds an entry by it, whoever made it."""
    return short_name(name, kinds, abi_tags=abi_tags)


def with_names(context: Any, mangler: Callable[..., str]) -> Any:
    """The same target to compile for, with ``mangler`` instead of numba's own."""
    named = copy(context)
    named.mangler = mangler
    return named


class PartCodegen:
    """numba's code generator for a part: as it is, but a part has no environment (objects that Python calls need)."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Nothing: there is no machine code yet that would look for it."""


class PartLibrary(codegen.JITCodeLibrary):  # type: ignore[misc]
    """The code of a kernel as a part of the kernels that call it: linked, not optimised, never made machine code.

    numba compiles every function to machine code by itself, its callees included, before it does so again in each
    caller: with the load loop's depth of calls that takes minutes. The outermost kernel's library is optimised as a
    whole, parts included.
    """

    @property
    def codegen(self) -> PartCodegen:
        """The generator, as the code that finishes a compilation sees it."""
        return PartCodegen(self._codegen)

    def finalize(self) -> None:
        """Link the callees' code, and be done."""
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """There is no machine code to point to, and nobody who would call it."""
        self._ensure_finalized()
        return 0


class PartCompiler(compiler.CompilerBase):  # type: ignore[misc]
    """numba's usual compiler, into a PartLibrary."""

    def define_pipelines(self) -> list[Any]:
        """The passes of nopython mode."""
        self.state.targetctx = with_names(self.state.targetctx, short_name)
        generator = self.state.targetctx.codegen()
        self.state.library = PartLibrary(generator, self.state.func_id.func_qualname)
        return [compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)]


class WholeLibrary(codegen.JITCodeLibrary):  # type: ignore[misc]
    """The code of an outermost kernel with all its parts, which nobody else can call.

    LLVM then inlines what is called from one place only and passes no argument that is not used. With numba's own
    linkage it must keep each part callable as it is, which made an etcd put twice as expensive.
    """

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = Linkage.internal
        super()._optimize_final_module()

    def serialize_using_object_code(self) -> tuple[str, str, tuple[bytes, bytes]]:
        """For the cache: the machine code, with names alone where numba keeps LLVM's form of all functions.

        That is for callers that link them; an outermost kernel has none (its callers take in parts). A large one's is
        50 MB in the cache, and more than twice that in the memory of each process that loads it.
        """
        self._ensure_finalized()
        found = (function for function in self._final_module.functions if not function.is_declaration)
        names = [function.name for function in found if function.linkage != Linkage.internal]
        module = ir.Module(self.name)
        module.triple = self._final_module.triple
        for name in names:
            ir.IRBuilder(ir.Function(module, VOID_FUNCTION, name).append_basic_block()).ret_void()
        return self.name, "object", (self._get_compiled_object(), parse_assembly(str(module)).as_bitcode())


class WholeCompiler(compiler.CompilerBase):  # type: ignore[misc]
    """numba's usual compiler, into a WholeLibrary."""

    mangler = staticmethod(short_name)

    def define_pipelines(self) -> list[Any]:
        """The passes of nopython mode."""
        self.state.targetctx = with_names(self.state.targetctx, self.mangler)
        generator = self.state.targetctx.codegen()
        self.state.library = WholeLibrary(generator, self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        return [compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)]


class EntryCompiler(WholeCompiler):
    """The same for an ``entry``."""

    mangler = staticmethod(entry_name)


def kernel(function: F) -> F:
    """Compile ``function`` on first call: no GIL, cached on disk, no exceptions for division by zero.

    Called from Python, it is compiled to machine code and cached. Called from another kernel, it becomes a part of
    that one. A function outside this package (in a test) is compiled anew in each process: no stamp would tell that a
    kernel which it calls has changed.
    """
    dispatcher = whole(function, WholeCompiler)
    if JIT_ENABLED:
        be_part_of_callers(dispatcher, function)
    return dispatcher  # type: ignore[no-any-return]


def whole(function: Callable[..., Any], pipeline: type[WholeCompiler]) -> Any:
    """``function`` as Python calls it; its code is cached."""
    dispatcher: Any = numba.njit(pipeline_class=pipeline, **OPTIONS)(function)
    relative = package_path(function.__code__.co_filename)
    if JIT_ENABLED and relative is not None and cache_folder(relative.parts[0]) is not None:
        dispatcher._cache = KernelCache(function)
        compile_once(dispatcher)
    return dispatcher


def entry(function: F) -> F:
    """A kernel that is a whole for its callers, too: compiled once on a machine, and called where it is.

    What is large and called by several outermost kernels would else be compiled in each of them. A call costs what one
    of a C function in another library does, and nothing of it is inlined.
    """
    dispatcher = whole(function, EntryCompiler)
    if JIT_ENABLED:
        be_called_by_name(dispatcher)
    return dispatcher  # type: ignore[no-any-return]


def be_called_by_name(dispatcher: Any) -> None:
    """Have kernels that call ``dispatcher`` name its machine code, which the linker finds among what is loaded.

    Types are taken as ``be_part_of_callers`` takes them.
    """
    compile_whole = type(dispatcher).get_call_template
    names: dict[Any, NamedWhole] = {}

    def get_call_template(args: Any, kws: Any) -> Any:
        plain = {name: widened(kind) for name, kind in kws.items()}
        template, python, args, kws = compile_whole(dispatcher, tuple(widened(kind) for kind in args), plain)
        own = [dispatcher.overloads[tuple(args)].signature]
        return make_concrete_template(template.__name__, key=template.key, signatures=own), python, args, kws

    def get_overload(args: Any) -> Any:
        args = tuple(args)
        if args not in names:
            names[args] = NamedWhole(dispatcher, args)
            fndesc = dispatcher.overloads[args].fndesc
            dispatcher.targetctx.insert_user_function(names[args], fndesc, (names[args],))
        return names[args]

    dispatcher.get_call_template = get_call_template
    dispatcher.get_overload = get_overload


class NamedWhole:
    """Stands for the library of an ``entry`` in its callers: nothing to link, but to be loaded before they are.

    What numba asks of a library that it links into another is here.
    """

    def __init__(self, dispatcher: Any, args: Any) -> None:
        generator = dispatcher.targetctx.codegen()
        self._nothing = parse_assembly(str(generator._create_empty_module("entry")))
        function = dispatcher.py_func
        self._reload_init = {partial(load_entry, function.__module__, function.__qualname__, args)}

    def _ensure_finalized(self) -> None:
        """There is nothing to be done."""

    def _get_module_for_linking(self) -> Any:
        return self._nothing


def load_entry(module: str, name: str, args: Any) -> None:
    """Have an entry's machine code in this process: code from the cache that calls it is about to be loaded."""
    getattr(import_module(module), name).compile(args)


def compile_once(dispatcher: Any) -> None:
    """Have only one process at a time compile or load ``dispatcher``: the others load what the first compiled."""
    compile_or_load = dispatcher.compile

    def compile_alone(signature: Any) -> Any:
        with dispatcher._cache.alone():
            return compile_or_load(signature)

    dispatcher.compile = compile_alone


def be_part_of_callers(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Have kernels that call ``dispatcher`` take in its code as a part, compiled once for all of them.

    Constants count as plain numbers and every integer but uint64 as int64: numba would compile a kernel, and all that
    it calls, anew for each constant and for each width of a record's fields that it is called with.
    """
    part: Any = numba.njit(pipeline_class=PartCompiler, no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)(
        function
    )

    def get_call_template(args: Any, kws: Any) -> Any:
        plain = {name: widened(kind) for name, kind in kws.items()}
        template, python, args, kws = part.get_call_template(tuple(widened(kind) for kind in args), plain)
        # numba would weigh every version that there is by now, records of a like beginning included.
        own = [part.overloads[tuple(args)].signature]
        return make_concrete_template(template.__name__, key=template.key, signatures=own), python, args, kws

    dispatcher.get_call_template = get_call_template
    dispatcher.get_overload = part.get_overload


def widened(kind: Any) -> Any:
    """The type that an argument of type ``kind`` is passed as from kernel to kernel."""
    plain = numba.types.unliteral(kind)
    narrow = isinstance(plain, numba.types.Integer) and plain.bitwidth < 64
    return numba.types.int64 if narrow else plain


def package_path(path: str) -> Path | None:
    """``path`` relative to this package, None for a file outside."""
    try:
        return Path(path).relative_to(PACKAGE_ROOT)
    except ValueError:
        return None


def cache_root() -> Path:
    """The folder of everything that kvbench keeps between runs: KVBENCH_CACHE, else under XDG_CACHE_HOME."""
    own = os.environ.get("KVBENCH_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kvbench"


@cache
def package_stamp(package: str) -> str:
    """Hash of the sources that a kernel of ``package`` may be compiled from."""
    digest = hashlib.sha256((PACKAGE_ROOT / "jit.py").read_bytes() + Path(jit_tuples.__file__).read_bytes())
    for name in (package, *KERNEL_LAYERS.get(package, ())):
        for path in sorted((PACKAGE_ROOT / name).rglob("*.py")):
            digest.update(path.relative_to(PACKAGE_ROOT).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def cache_folder(package: str) -> Path | None:
    """The folder of a package's machine code, made if need be; None when it cannot be made, which is said once."""
    mode = "boundscheck" if BOUNDSCHECK else "plain"
    checkout = hashlib.sha256(str(PACKAGE_ROOT).encode()).hexdigest()[:12]
    folder = cache_root() / "kernels" / f"{mode}-{checkout}" / package
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        say_uncached(error)
        return None
    return folder


@cache
def _say_once(reason: str) -> None:
    print(
        f"kvbench: cannot keep compiled code in {cache_root()} ({reason}), so every start compiles anew; "
        "set KVBENCH_CACHE to a folder that can be written",
        file=sys.stderr,
    )


def say_uncached(error: OSError) -> None:
    """Say on stderr, once per reason, that compiled code could not be kept."""
    _say_once(error.strerror or type(error).__name__)


class PackageCacheLocator(caching._CacheLocator):  # type: ignore[misc]
    """Finds the cache folder and the stamp of a kernel of this package. One folder per package."""

    def __init__(self, relative: Path) -> None:
        self._disambiguator = hashlib.sha256(relative.as_posix().encode()).hexdigest()[:12]
        self._stamp = package_stamp(relative.parts[0])
        self._folder = cache_folder(relative.parts[0])

    def ensure_cache_path(self) -> None:
        """The folder was made when the kernel was declared."""

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        """Tells kernels of one name in files of one name apart; numba itself looks at the file's last part only."""
        return self._disambiguator

    @classmethod
    def from_function(cls, function: Callable[..., Any], path: str) -> "PackageCacheLocator | None":
        """A locator for a kernel of this package, None for any other function."""
        relative = package_path(path)
        return None if relative is None else cls(relative)


class KernelCacheImplementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """numba's way of storing a compiled function, in our folders."""

    _locator_classes = (PackageCacheLocator,)


class KernelCache(caching.FunctionCache):  # type: ignore[misc]
    """numba's cache of a function, safe to share between processes; neither a full disk nor a damaged file stops it.

    A function's index and its code are files of their own, and numba replaces one after the other: a process that
    reads between the two, or saves at the same time, would take the code of other argument types or of older sources
    for its own, and crash in it. Hence a lock per folder.
    """

    _impl_class = KernelCacheImplementation

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store compiled code; when that fails it is said, and the code is used all the same."""
        try:
            with self._locked(fcntl.LOCK_EX):
                super().save_overload(sig, data)
        except OSError as error:
            say_uncached(error)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Stored code, or None to have it compiled: when there is none, or none that can be read."""
        try:
            with self._locked(fcntl.LOCK_SH):
                return super().load_overload(sig, target_context)
        except Exception:
            # A damaged file can fail in any way while it is unpickled; the fresh code then replaces it.
            with suppress(OSError), self._locked(fcntl.LOCK_EX):
                self.flush()
            return None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the kernel's own lock, which is taken before numba's and the folder's."""
        with file_lock(Path(self.cache_path) / f"{self._impl.filename_base}.lock"):
            yield

    @contextmanager
    def _locked(self, mode: int) -> Iterator[None]:
        """Hold the folder's lock, shared (LOCK_SH) or alone (LOCK_EX)."""
        with open(Path(self.cache_path) / LOCK_NAME, "a") as lock:
            fcntl.flock(lock, mode)
            yield


@contextmanager
def compile_lock(group: str) -> Iterator[None]:
    """Only one process compiles a group at a time; the others wait and load what it compiled."""
    with file_lock(cache_root() / "kernels" / f"{group}.lock"):
        yield


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be; when it cannot be made that is said, and nothing is held."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "w")  # noqa: SIM115
    except OSError as error:
        say_uncached(error)
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def reporting(report: Callable[[float], None] | None, every_s: float = 1.0) -> Iterator[None]:
    """Call ``report`` with the seconds spent so far, every ``every_s`` seconds, from another thread, while inside."""
    if report is None:
        yield
        return
    over = threading.Event()
    start = time.monotonic()

    def run() -> None:
        while not over.wait(every_s):
            report(time.monotonic() - start)

    thread = threading.Thread(target=run, name="compile-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def is_compiled(dispatcher: Any) -> bool:
    """Whether ``dispatcher`` has machine code in this process."""
    return not JIT_ENABLED or bool(dispatcher.overloads)


def compile_for(
    dispatcher: Any, arguments: tuple[Any, ...], group: str, report: Callable[[float], None] | None = None
) -> float:
    """Compile a kernel for the types of ``arguments``, or load it from the cache. Returns seconds spent, 0 if ready.

    Holds the group's lock, so that two processes do not compile the same code side by side. ``report`` is called
    about once a second with the seconds spent so far, for a progress line; what comes from the cache is faster.
    """
    if not JIT_ENABLED:
        return 0.0
    signature = tuple(numba.typeof(argument) for argument in arguments)
    if signature in dispatcher.overloads:
        return 0.0
    start = time.monotonic()
    with reporting(report), compile_lock(group):
        dispatcher.compile(signature)
    return time.monotonic() - start
