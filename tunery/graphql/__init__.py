"""The API's framework: the endpoint, what a resolver gets, errors, connections.

Owns how GraphQL is spoken, no type of the business. The rooms' types are joined in `app/schema.py`.
"""
