"""The pure core: what a goal, a plan, an approval and a grant are.

Nothing here reads a file, a clock or the network.
"""
