"""Methods that fit a pooling, one per module."""
