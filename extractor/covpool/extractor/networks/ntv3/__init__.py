"""NTv3: the network, and how it is computed tile by tile."""
