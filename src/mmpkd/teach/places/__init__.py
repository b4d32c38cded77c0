"""Rules that read from a report which finding lies where, and what is denied, doubted or left unsaid."""
