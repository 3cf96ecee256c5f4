"""How requests about campaigns are refused."""

from pydantic import ValidationError

from ohmstead.core.errors import Invalid, NotFound


def no_campaign(campaign_id: object) -> NotFound:
    """Return that there is no such campaign in the caller's scope."""
    return NotFound(f"There is no campaign {campaign_id}.", code="CampaignNotFound")


def unknown_kind(kind: str, possible: list[str]) -> Invalid:
    """Return that campaigns know no work of this kind."""
    return Invalid(
        f"There is no kind of work called {kind}. Possible are: {', '.join(possible) or 'none'}.",
        fields={"kind": "is not known"},
    )


def wrong_parameters(kind: str, error: ValidationError) -> Invalid:
    """Return what is wrong with the parameters of a kind, by their names."""
    faults = {
        ".".join(["parameters", *(str(part) for part in fault["loc"])]): str(fault["msg"])
        for fault in error.errors()
    }
    told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    return Invalid(f"The parameters are not those of {kind}. {told}"[:1000], fields=faults)
