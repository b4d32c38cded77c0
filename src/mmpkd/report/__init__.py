"""The report: one self-contained HTML file over a run folder, and a summary picture of it.

It reads files and computes no evidence of its own: every estimate and interval comes from the rooms before it.
"""
