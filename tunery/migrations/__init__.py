"""Alembic's migrations, run by `tunery migrate` as the owner. `row_security.py` holds their words for RLS."""
