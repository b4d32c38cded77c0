"""Teachers on privileged information, and the out-of-fold soft labels they hand to the student. No pixels here."""
