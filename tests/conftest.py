"""What holds for all tests."""

from hypothesis import settings

# The same examples in every run, in whichever process a test lands; compiling takes its time.
settings.register_profile("kvbench", derandomize=True, deadline=None)
settings.load_profile("kvbench")
