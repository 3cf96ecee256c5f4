"""Path and query parameters that the endpoints of stations share."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Path

from ohmstead.core.errors import NotFound
from ohmstead.stations.texts import charger_id_fault


def charger_id_of_path(
    charger_id: Annotated[str, Path(description="The OCPP identity; a slash in it is written `%2F`.")],
) -> str:
    """Return the charger's id of the path, decoded.

    A slash stays `%2F` until here, so that it does not end the path's part.
    """
    decoded = unquote(charger_id)
    if charger_id_fault(decoded) is not None:
        raise NotFound("There is no charger with this id.", code="ChargerNotFound")
    return decoded


ChargerId = Annotated[str, Depends(charger_id_of_path)]
