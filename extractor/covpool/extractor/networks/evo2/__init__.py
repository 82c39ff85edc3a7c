"""Evo 2: the network, and its evaluation block by block."""
