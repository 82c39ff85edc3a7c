"""Values: keys, moments, partial sums, and the packing of symmetric matrices."""
