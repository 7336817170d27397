"""A run's artifact: the folder that holds all that came out of one run, readable for ever.

``writer`` writes it while the run goes on, ``reader`` reads it whether or not the run came to its end, and ``summary``
computes from it every number that tables and gates use. Nothing here knows servers or charts.
"""
