"""What alerts say of a person."""

from ohmstead.accounts.personal_data import Contribution, erasing
from ohmstead.notifications.models import Alert

ALERTS = Contribution("alerts", erase=erasing(Alert.subject, Alert.title, Alert.message, Alert.data))
