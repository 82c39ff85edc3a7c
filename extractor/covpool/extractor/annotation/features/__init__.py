"""Features as every format states them, corrected and checked."""
