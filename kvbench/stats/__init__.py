"""Pure statistics over numpy arrays: no files, no clock, no charts."""
