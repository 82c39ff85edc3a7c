"""Evo 2: the network, and how it is computed block by block."""
