"""One file per kind of figure; each has `measure(lab)`, which returns a section of the report."""
