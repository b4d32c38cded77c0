"""The report: one self-contained HTML file over a run folder, and a summary picture of it.

It reads files and computes no evidence of its own: estimates and intervals come from the rooms before it.
"""
