"""Where adapters are sold and bought: listings, purchases, entitlements, sales. `hub/` hands out the files.

Owns the tables `sellers`, `listings`, `listing_versions`, `purchases`, `entitlements` and `sales`.
"""
