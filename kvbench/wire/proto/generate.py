"""Writes descriptor.py and messages.pyi from etcd.proto: ``python -m kvbench.wire.proto.generate``.

Needs grpcio-tools, which only a change of etcd.proto needs; a kvbench in use needs protobuf alone.
"""

import base64
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
NAME = "etcd.proto"
WIDTH = 108

_DESCRIPTOR_HEAD = '''"""etcd.proto as a serialized FileDescriptorProto in base 85. Written by generate.py."""

SERIALIZED_BASE85 = (
'''


def compile_proto(folder: Path) -> tuple[bytes, str]:
    """The serialized FileDescriptorProto and the text of the type stub. Raises RuntimeError if protoc refuses."""
    import grpc_tools  # type: ignore[import-untyped]
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    out = folder / "set.binpb"
    include = Path(str(grpc_tools.__file__)).parent / "_proto"
    arguments = ["protoc", f"-I{FOLDER}", f"-I{include}", f"--descriptor_set_out={out}", f"--pyi_out={folder}", NAME]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc does not compile {FOLDER / NAME}; its message is above")
    descriptor_set = FileDescriptorSet.FromString(out.read_bytes())
    stub = (folder / "etcd_pb2.pyi").read_text()
    return descriptor_set.file[0].SerializeToString(deterministic=True), stub


def descriptor_module(serialized: bytes) -> str:
    """The text of descriptor.py."""
    text = base64.b85encode(serialized).decode()
    lines = [f'    r"{text[at : at + WIDTH]}"\n' for at in range(0, len(text), WIDTH)]
    return _DESCRIPTOR_HEAD + "".join(lines) + ")\n"


def main() -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder:
        serialized, stub = compile_proto(Path(folder))
    (FOLDER / "descriptor.py").write_text(descriptor_module(serialized))
    head = '# ruff: noqa\n# fmt: off\n# mypy: disable-error-code="type-arg"\n# Written by generate.py.\n'
    (FOLDER / "messages.pyi").write_text(head + stub)


if __name__ == "__main__":
    main()
