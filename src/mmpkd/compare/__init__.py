"""Intervals and words over scores: patient-cluster and hierarchical bootstrap, comparison of arms, verdict.

Knows numpy, pandas and ``mmpkd.evaluate`` only, and works on anybody's tables.
"""
