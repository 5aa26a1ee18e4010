"""The demo's own parts: a small web service, its repository, and the git host that serves it.

Real parts on loopback; nothing here is imported by the rest of the project.
"""
