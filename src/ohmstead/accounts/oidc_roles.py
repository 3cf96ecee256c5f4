"""Which role the claims of a provider give: rules in their order, of which the first that fits counts."""

from collections.abc import Iterable, Mapping
from typing import Any

from ohmstead.accounts.models import Role


def role_for(
    rules: Iterable[Mapping[str, Any]], claims: Mapping[str, Any], *, allow_system_admin: bool
) -> Role:
    """Return the role of the first rule that fits; without one, somebody is a driver.

    A rule is `{"claim", "value", "role"}`: it fits when the claim is that text, or a list that holds it. A
    rule that gives SystemAdmin fits nobody unless the provider may.
    """
    for rule in rules:
        role = Role(rule["role"])
        if role is Role.SYSTEM_ADMIN and not allow_system_admin:
            continue
        if rule["value"] in _texts(claim_of(claims, rule["claim"])):
            return role
    return Role.EV_OWNER


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by the names on the way to it with dots between (`realm_access.roles`).

    A name as a whole goes first: those that are addresses have dots of their own. None where there is none.
    """
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]
