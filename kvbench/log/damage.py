"""The error of a member whose files must not be used."""

from kvbench.log.records import LogDamage

REASONS: dict[int, str] = {
    LogDamage.BLANK: "it is all zeros",
    LogDamage.INCOMPLETE: "the file ends too early",
    LogDamage.BAD_HEADER: "a header does not fit its checksum",
    LogDamage.BAD_CONTENT: "a content does not fit its checksum",
    LogDamage.DURABLE_TORN: "a record that had been durable is not whole",
    LogDamage.STRAY_BITS: "bits are set where nothing had been written yet",
    LogDamage.BAD_INDEX: "a whole record has an index or term that cannot follow",
    LogDamage.FOREIGN: "it belongs to another cluster or another member",
    LogDamage.NEWER_FORMAT: "it was written by a later version of kvbench",
    LogDamage.WRONG_NUMBER: "it has the name of another segment",
    LogDamage.BROKEN_CHAIN: "it does not follow the segment before: something between them is missing",
    LogDamage.GAP: "entries are missing between the newest snapshot and the log",
    LogDamage.LOST_END: "the log ends before what had been durable, and no other member has it",
    LogDamage.BAD_LENGTH: "the file has a size that it is never given",
}


class Damage(Exception):
    """A file that is known to lack, or to hold, what it should not."""

    def __init__(self, kind: str, number: int, offset: int, code: int) -> None:
        """``kind``: segment, snapshot, mark or identity; ``number``: which of those there are several of."""
        name = f"{kind} {number}" if kind in ("segment", "snapshot") else kind
        self.reason = REASONS.get(code, f"code {code}")
        super().__init__(f"{name}, offset {offset}: {self.reason}")
        self.kind, self.number, self.offset, self.code = kind, number, offset, code
