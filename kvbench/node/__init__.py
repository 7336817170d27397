"""raft, log and store as one deterministic step: what is synced, sent and acknowledged, and when. No IO, no clock."""
