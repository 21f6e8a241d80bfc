"""The judge: honest law, sensitivity, verdicts and calibration files."""
