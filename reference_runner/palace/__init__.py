"""PALACE: trains and runs a small language model that names the count of hidden reasoning tokens.

    data -> fine_tune (a general LoRA adapter) -> grpo (one adapter a domain) -> adapters, generate

Needs the extra `palace` (trl, peft). What is asked, how replies are read and what they earn is
handed in: nothing here knows bills.
"""
