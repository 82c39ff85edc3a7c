"""Processes: how children are started, told and ended, and how the task at fault is found."""
