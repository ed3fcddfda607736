"""The services that `tunery up` runs itself: PostgreSQL 18 with pgvector and Valkey as child processes, the folder that
holds their data, and the supervision of every child. It owns processes and files, no tables and no API types.
"""
