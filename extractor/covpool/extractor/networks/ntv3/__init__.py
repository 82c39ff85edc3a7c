"""NTv3: the network, and its evaluation tile by tile."""
