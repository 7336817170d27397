"""The state machine: keys with all their versions, leases, watchers. Entries in, responses and events out; no clock."""
