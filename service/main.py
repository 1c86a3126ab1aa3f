"""The composition root: which features there are."""

from brigade import Brigade, load_settings
from service.features import links, notes, sheets
from service.settings import Settings

FEATURES = [notes, links, sheets]


def create_app(settings: Settings | None = None) -> Brigade:
    return Brigade(settings or load_settings(Settings), title="Brigade", features=FEATURES)
