"""Features as every format states them, put right and checked."""
