"""File ↔ samples ↔ values in [0, 1]: what a picture is, and how it is read, cut, corrupted, compared and written."""
