"""What chargers reported of a person outside of sessions."""

from ohmstead.accounts.personal_data import Contribution, erasing
from ohmstead.stations.models import ChargerReport, Observation

STATIONS = Contribution("stations", erase=erasing(Observation.examples, frames=(ChargerReport.payload,)))
