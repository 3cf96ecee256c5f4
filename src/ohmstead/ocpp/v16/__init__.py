"""OCPP 1.6: its actions, its schemas and its meter values."""
