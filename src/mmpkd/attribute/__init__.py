"""Maps: where a student looked. One small module per method, one contract for all (`contract.py`)."""
