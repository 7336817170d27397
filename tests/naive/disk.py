"""A member's disk as DISK_COMMANDs are described: files in a dictionary, commands one after the other."""

import errno

from kvbench.node.records import DiskKind, File

Name = tuple[int, int]
"""Kind of file, number."""


class NaiveDisk:
    """Files by name. Commands are dictionaries of DISK_COMMAND's fields, their bytes already taken out."""

    def __init__(self, strict: bool = False) -> None:
        self.files: dict[Name, bytearray] = {}
        self.strict, self.broken = strict, 0

    def carry_out(self, command: dict[str, int], data: bytes) -> tuple[int, bytes]:
        """Result, and what was read."""
        if self.broken:
            return self.broken, b""
        result, read = self._carry_out(command, data)
        if result < 0 and self.strict:
            self.broken = result
        return result, read

    def _carry_out(self, command: dict[str, int], data: bytes) -> tuple[int, bytes]:
        kind, name = command["kind"], (command["file"], command["number"])
        if kind == DiskKind.CREATE:
            self.files[name] = bytearray(command["bytes"])
            return 0, b""
        if kind == DiskKind.DELETE:
            self.files.pop(name, None)
            return 0, b""
        is_part = name[0] in (File.OWN_SNAPSHOT, File.FOREIGN_SNAPSHOT)
        if kind == DiskKind.WRITE and is_part and command["offset"] == 0:
            self.files[name] = bytearray()
        if name not in self.files:
            return -errno.ENOENT, b""
        content = self.files[name]
        offset, size = command["offset"], command["bytes"]
        if kind == DiskKind.WRITE:
            content.extend(bytes(max(0, offset + size - len(content))))
            content[offset : offset + size] = data
            return size, b""
        if kind == DiskKind.READ:
            read = bytes(content[offset : offset + size])
            return len(read), read
        if kind == DiskKind.RENAME:
            self.files[command["to_file"], command["to_number"]] = self.files.pop(name)
        return 0, b""
