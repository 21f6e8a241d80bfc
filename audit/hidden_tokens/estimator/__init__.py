"""The learned estimator: what a request's reasoning should have cost, from its text alone.

    rows --training--> EstimatorCore --training.calibrate_estimator--> Estimator --read--> Reading

The auditor trains and calibrates it on reference data of his own, never on the accused's.
"""
