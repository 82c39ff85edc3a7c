"""Models: what a name stands for, which checkpoint it has, and where that lies."""
