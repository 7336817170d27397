"""Verdicts on histories: was there an order of operations, in keeping with real time, that explains what was seen?"""
