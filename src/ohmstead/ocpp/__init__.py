"""The pure OCPP codec: frames, schemas and message rules. No asyncio, no SQL, no logging."""
