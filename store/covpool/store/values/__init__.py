"""Values: keys, moments, partial sums, and how symmetric matrices are packed."""
