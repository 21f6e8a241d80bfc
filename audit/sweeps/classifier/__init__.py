"""A classifier of answer texts, the baseline that other detectors are measured against."""
