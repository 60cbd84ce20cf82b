"""Ray: the connection, the engine (Tune), the broker, worker groups, time."""
