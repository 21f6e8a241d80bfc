"""A provider commits to its hidden tokens and their count; the auditor opens some at random.

    prover: tokens --tree--> root --signed with the count--> CountStatement     (1)
    auditor: a nonce, made only after (1) arrived                               (2)
    both: root, count and nonce --challenge--> which leaves and blocks to open  (3)
    prover: openings --> auditor: verify, and replay of what stands in one row  (4)

It stops a provider from billing tokens that it cannot show. It does not say that the tokens were
worth their price: a chain that the model really drew passes, however long.
"""
