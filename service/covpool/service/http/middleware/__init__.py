"""What every request passes: an envelope (id, headers, last resort), then the gate (who, how much)."""
