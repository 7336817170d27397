"""A member's log: entries to bytes for the disk and back, or a named damage; mark, identity, snapshot file. No IO."""
