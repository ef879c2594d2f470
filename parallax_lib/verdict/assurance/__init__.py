"""How far verdicts can be trusted: mutants of references, hostile programs, the sandbox's promises, known labels."""
