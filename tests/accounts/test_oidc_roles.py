"""Which role the claims of a provider give."""

from typing import Any

import pytest

from ohmstead.accounts.models import Role
from ohmstead.accounts.oidc_roles import role_for

RULES = [
    {"claim": "realm_access.roles", "value": "root", "role": "SystemAdmin"},
    {"claim": "realm_access.roles", "value": "bosses", "role": "Backoffice"},
    {"claim": "https://acme.example/group", "value": "ops", "role": "Operator"},
]


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({}, Role.EV_OWNER),
        ({"realm_access": {"roles": ["bosses", "root"]}}, Role.SYSTEM_ADMIN),
        ({"realm_access": {"roles": ["x", "bosses"]}}, Role.BACKOFFICE),
        ({"realm_access": {"roles": "bosses"}}, Role.BACKOFFICE),
        ({"realm_access.roles": ["bosses"]}, Role.BACKOFFICE),
        ({"https://acme.example/group": "ops"}, Role.OPERATOR),
        ({"realm_access": {"roles": "all bosses"}}, Role.EV_OWNER),
        ({"realm_access": {"roles": {"bosses": True}}}, Role.EV_OWNER),
        ({"realm_access": {"roles": [["bosses"], {"x": 1}, 7, None, True]}}, Role.EV_OWNER),
        ({"realm_access": ["bosses"]}, Role.EV_OWNER),
        ({"realm_access": {"roles": ["BOSSES"]}}, Role.EV_OWNER),
    ],
)
def test_the_first_rule_that_fits_counts(claims: dict[str, Any], role: Role) -> None:
    assert role_for(RULES, claims, allow_system_admin=True) is role


def test_without_leave_nobody_becomes_system_admin() -> None:
    claims = {"realm_access": {"roles": ["root", "bosses"]}}
    assert role_for(RULES, claims, allow_system_admin=False) is Role.BACKOFFICE
