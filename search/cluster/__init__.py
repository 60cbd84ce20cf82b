"""Ray: the connection, the engine (Tune), the broker, the worker groups, the time ledger."""
