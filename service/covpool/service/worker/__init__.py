"""Workers: a small process that claims tasks, and its child that holds the model and may die."""
