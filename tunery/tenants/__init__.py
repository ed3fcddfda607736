"""Who uses Tunery: organisations (tenants), their members and API keys.

Owns the tables `tenants`, `members` and `api_keys`, and answers who is calling. Owns no plan, no money.
"""
