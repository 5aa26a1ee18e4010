"""The simulator: the real workflows on a clock of its own, with nothing behind them.

It starts no server, opens no connection and runs no operation.
"""
