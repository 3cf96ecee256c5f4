"""What an operator sees of a charger, asked over HTTP from the real server."""

from typing import Any

import httpx


class AdminApi:
    """The admin API as one signed-in user; what is no success fails the test, but for `command`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.client.get(f"/api/admin{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def transactions(self, charger: str, **params: Any) -> list[dict[str, Any]]:
        """The sessions of a charger in the order of their start."""
        page = await self.get("/transactions", charger=charger, limit=500, **params)
        items: list[dict[str, Any]] = page["items"]
        return items[::-1]

    async def transaction(self, key: Any) -> dict[str, Any]:
        row: dict[str, Any] = await self.get(f"/transactions/{key}")
        return row

    async def meter_values(self, key: Any) -> list[dict[str, Any]]:
        """The meter values of a session, oldest first."""
        page = await self.get(f"/transactions/{key}/meter-values", limit=500)
        items: list[dict[str, Any]] = page["items"]
        return items

    async def charger(self, charger: str) -> dict[str, Any]:
        row: dict[str, Any] = await self.get(f"/chargers/{charger}")
        return row

    async def connector(self, charger: str, number: int = 1) -> dict[str, Any]:
        row = await self.charger(charger)
        found: list[dict[str, Any]] = [one for one in row["connectors"] if one["connector_id"] == number]
        return found[0]

    async def messages(self, charger: str, **params: Any) -> list[dict[str, Any]]:
        """The message log of a charger, oldest first."""
        page = await self.get("/ocpp/messages", charger=charger, limit=500, **params)
        items: list[dict[str, Any]] = page["items"]
        return items[::-1]

    async def connections(self, charger: str) -> list[dict[str, Any]]:
        """The sockets of a charger, oldest first."""
        items: list[dict[str, Any]] = (await self.get("/ocpp/connections", charger=charger))["items"]
        return items[::-1]

    async def refusals(self, **params: Any) -> list[dict[str, Any]]:
        """Refused handshakes, newest first."""
        items: list[dict[str, Any]] = (await self.get("/ocpp/refusals", limit=500, **params))["items"]
        return items

    async def command(
        self, charger: str, action: str, body: Any = None, *, seconds: float | None = None
    ) -> httpx.Response:
        """Send a command; bytes go out as they are."""
        content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body or {}}
        return await self.client.post(
            f"/api/admin/chargers/{charger}/commands/{action}",
            params={} if seconds is None else {"timeout": seconds},
            timeout=30,
            **content,
        )


def admin_client(base_url: str, headers: dict[str, str]) -> httpx.AsyncClient:
    """A client for a server of the tests."""
    return httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False, timeout=20)
