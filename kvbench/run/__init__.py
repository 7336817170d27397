"""One ``kvbench run``: targets interleaved, each started fresh, loaded phase by phase, watched, and written down.

``interleave`` is the whole command, ``single`` one run against one target, ``phases`` the load of one run. ``checks``
refuses what cannot work before anything is started. What others rely on: request.RunRequest, interleave.run_all.
"""
