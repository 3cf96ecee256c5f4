"""The benchmark: Ohmstead beside a bare OCPP server, under one cheap load client (docs/performance.md)."""
