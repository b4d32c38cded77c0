"""Why distillation did or did not help: the signs of known failures, each measured and with a remedy.

Functions of arrays; :mod:`mmpkd.study.diagnosis` reads them from a run folder.
"""
