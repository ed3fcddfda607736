"""Keys and what they protect: HPKE key pairs of tenants, data keys, sealing, signatures.

Owns the tables `tenant_keys`, `data_keys` and `signing_keys`. Knows nothing of what is sealed or signed.

    root key (file or environment) seals -> a tenant's private key, which unwraps -> data keys, which seal -> data
"""
