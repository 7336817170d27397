"""etcd's messages as classes, made when imported from the compiled etcd.proto (descriptor.py).

The classes come from a descriptor pool of their own: they collide with no other etcd client in the same process, and
work with every protobuf runtime, while generated modules demand a runtime at least as new as their generator.
"""

import base64
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from kvbench.wire.proto.descriptor import SERIALIZED_BASE85

_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(base64.b85decode(SERIALIZED_BASE85))  # type: ignore[no-untyped-call]
DESCRIPTOR: Any = _pool.FindFileByName("etcd.proto")  # type: ignore[no-untyped-call]
for _name, _message in DESCRIPTOR.message_types_by_name.items():
    globals()[_name] = message_factory.GetMessageClass(_message)
for _name, _enum in DESCRIPTOR.enum_types_by_name.items():
    globals()[_name] = EnumTypeWrapper(_enum)
    globals().update(EnumTypeWrapper(_enum).items())
