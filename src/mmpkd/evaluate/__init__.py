"""Pure metric functions on anybody's arrays: classification, localisation, picture-blind baselines.

Knows numpy and pandas only: no models, no images, no run folders. Intervals are in ``mmpkd.compare``.
"""
