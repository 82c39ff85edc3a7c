"""Processes: starts, controls and ends child processes, and finds the task at fault."""
