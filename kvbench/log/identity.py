"""Whose a folder is: written once, when it is made, and compared at every start."""

import struct
from dataclasses import dataclass

import numpy as np

from kvbench.log.damage import Damage
from kvbench.log.records import FORMAT, LogDamage
from kvbench.rt.crc32c import crc32c

MAGIC = b"kvbench\n"
MEMBERS_MAX = 5
IDENTITY_BYTES = 512
_HEAD = struct.Struct("<8sII")
"""Magic, format, checksum of everything behind."""
_BODY = struct.Struct("<qqqq5q")
"""Cluster id, member id, position, count of members, their ids."""


@dataclass(frozen=True)
class Identity:
    """A member of a cluster."""

    cluster: int
    member: int
    position: int
    """Which of the cluster's members, from 0 on, in the order of their ids here."""
    members: tuple[int, ...]
    """Ids of all members."""


def pack_identity(identity: Identity) -> bytes:
    """The file's IDENTITY_BYTES."""
    ids = identity.members + (0,) * (MEMBERS_MAX - len(identity.members))
    body = _BODY.pack(identity.cluster, identity.member, identity.position, len(identity.members), *ids)
    body += bytes(IDENTITY_BYTES - _HEAD.size - len(body))
    return _HEAD.pack(MAGIC, FORMAT, _checksum(body)) + body


def unpack_identity(data: bytes) -> Identity:
    """Read the file's content. Raises Damage."""
    if len(data) < _HEAD.size:
        raise Damage("identity", 0, len(data), LogDamage.INCOMPLETE)
    magic, version, checksum = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Damage("identity", 0, 0, LogDamage.BAD_HEADER)
    if version > FORMAT:
        raise Damage("identity", 0, 8, LogDamage.NEWER_FORMAT)
    if len(data) != IDENTITY_BYTES:
        raise Damage("identity", 0, len(data), LogDamage.BAD_LENGTH)
    if version != FORMAT or checksum != _checksum(data[_HEAD.size :]):
        raise Damage("identity", 0, 0, LogDamage.BAD_HEADER)
    cluster, member, position, count, *ids = _BODY.unpack_from(data, _HEAD.size)
    return Identity(cluster, member, position, tuple(ids[:count]))


def _checksum(body: bytes) -> int:
    return int(crc32c(np.frombuffer(body, np.uint8).copy(), 0, len(body), 0))
