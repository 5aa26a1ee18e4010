"""Services that tasks act on: one file a service, all of them behind one interface.

Nothing here knows Temporal or Vault: an activity leases the credential and hands it in.
"""
