"""Phantoms that several tests look at, made once."""

import pytest

from mmpkd.cohort.phantom import Phantom, PhantomSettings, generate


@pytest.fixture(scope="session")
def chest() -> Phantom:
    return generate(PhantomSettings(patients=500, images_per_patient=(1, 2), seed=3, label_missing=0.1))


@pytest.fixture(scope="session")
def breast() -> Phantom:
    return generate(PhantomSettings(kind="breast", patients=400, images_per_patient=(1, 2), seed=3))
