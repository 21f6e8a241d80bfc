"""PALACE: a language model reads question and answer and names the count of hidden tokens.

Prompts, reward, metrics and the calibrated channel are here and need no model; what trains and runs
one is in `reference_runner.palace`. Idea: Wang et al., "Predictive auditing of hidden tokens in LLM
APIs via reasoning length estimation", arXiv:2508.00912.
"""
