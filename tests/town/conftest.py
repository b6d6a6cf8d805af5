import pytest

from geoseg.town.model import Town
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings


@pytest.fixture(scope="session")
def town() -> Town:
    """A town of 600 m with something of everything that small."""
    return plan_town(TownSettings(size_px=(1500, 2100), pixel_size_m=0.4, seed=7))


@pytest.fixture(scope="session")
def collared() -> Town:
    return plan_town(TownSettings(size_px=(700, 600), pixel_size_m=0.5, seed=3, collar=True, palette="desert"))
