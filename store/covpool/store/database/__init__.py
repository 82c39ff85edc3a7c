"""Database: engines of SQLite and Postgres, transactions, and migrations."""
