"""The vocabulary: kinds of operation, error codes, and the records that siblings share. No algorithms."""
