"""Distilling: the objective, the image-only student, its training loop and its checkpoints.

The teacher is not in this room. What it knows arrives as a table of soft labels, so that training with it
costs no more a step than training without.
"""
