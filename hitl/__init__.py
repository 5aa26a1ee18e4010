"""The approval gateway: who may decide, the signed decision, and the pages and API around it.

It may not run anything, and it never holds the key that decisions are signed with.
"""
