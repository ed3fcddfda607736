"""Keys and what they protect: root keys, HPKE key pairs of tenants, data keys, sealing, secrets, signatures, erasure.

Owns the tables `tenant_keys`, `data_keys`, `secrets`, `erasures` and `signing_keys`. Knows nothing of what is sealed or
signed.

    root keys (settings or AWS KMS) seal -> a tenant's private keys, which unwrap -> data keys, which seal -> data
"""
