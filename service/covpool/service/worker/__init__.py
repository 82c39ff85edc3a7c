"""Workers: a small process that claims tasks, and a child process that holds the model and may die."""
