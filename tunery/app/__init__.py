"""The composition root: settings, the ASGI application, the command line, embedded services, the demo.

Owns how the rooms are put together and started. Owns no table and no business rule.
"""
