import ast
import base64
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from kvbench.wire.proto import descriptor, generate, messages, methods


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[FileDescriptorProto, str]:
    serialized, stub = generate.compile_proto(tmp_path_factory.mktemp("proto"))
    return FileDescriptorProto.FromString(serialized), stub


def test_the_descriptor_is_what_the_proto_compiles_to(compiled: tuple[FileDescriptorProto, str]) -> None:
    kept = FileDescriptorProto.FromString(base64.b85decode(descriptor.SERIALIZED_BASE85))
    assert kept == compiled[0]


def slots(stub: str) -> dict[str, Any]:
    """The fields of each message class, nested ones too, of a type stub."""
    found = {}
    for node in ast.walk(ast.parse(stub)):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__":
                    found[node.name] = ast.literal_eval(statement.value)
    return found


def test_the_type_stub_names_the_same_messages_and_fields(compiled: tuple[FileDescriptorProto, str]) -> None:
    kept = (Path(generate.FOLDER) / "messages.pyi").read_text()
    assert slots(kept) == slots(compiled[1])
    assert set(messages.DESCRIPTOR.message_types_by_name) <= set(slots(kept))


def test_bytes_are_those_of_the_api() -> None:
    put = messages.PutRequest(key=b"k", value=b"v", lease=3)
    assert put.SerializeToString() == b"\x0a\x01k\x12\x01v\x18\x03"
    compare = messages.Compare(target=messages.Compare.MOD, key=b"k", mod_revision=5)
    assert compare.SerializeToString() == b"\x10\x02\x1a\x01k\x30\x05"
    assert messages.RangeResponse.FromString(b"\x0a\x02\x18\x07\x20\x09").header.revision == 7


OTHER_NAMES = {"Compact": "Compaction", "Check": "HealthCheck"}
"""Calls whose messages are named differently."""
OTHER_REQUESTS = {"RangeStream": "Range"}
"""Calls that take another one's request."""


def test_methods_are_paths_with_the_messages_that_they_take() -> None:
    for name, method in vars(methods).items():
        if not isinstance(method, methods.Method):
            continue
        service, _, call = method.path.rpartition("/")
        assert service.startswith(("/etcdserverpb.", "/grpc.health.v1.")), name
        message = OTHER_NAMES.get(call, call)
        assert method.request.DESCRIPTOR.name == f"{OTHER_REQUESTS.get(call, message)}Request"
        assert method.response.DESCRIPTOR.name == f"{message}Response"
