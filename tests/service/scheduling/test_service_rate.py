"""Service rate, from which Retry-After is computed."""

import pytest

from service.scheduling.service_rate import LONGEST, ServiceRate


def test_retry_after_is_the_expected_time_of_the_waiting_images() -> None:
    rate = ServiceRate()
    for batch in range(1, 100):  # 4 images every 2 s
        rate.record(4, waiting_since=0.0, now=2.0 * batch)
    assert rate.seconds_per_image == pytest.approx(0.5)
    assert [rate.retry_after(images) for images in (0, 1, 2, 3, 21, 10_000)] == [1, 1, 1, 2, 11, LONGEST]


def test_time_without_work_is_not_counted() -> None:
    rate = ServiceRate()
    rate.record(1, waiting_since=10.0, now=10.5)
    rate.record(1, waiting_since=1000.0, now=1000.5)
    assert rate.seconds_per_image == pytest.approx(0.5)


def test_a_change_of_speed_is_reflected_within_seconds() -> None:
    rate = ServiceRate()
    for batch in range(1, 100):
        rate.record(1, waiting_since=0.0, now=0.1 * batch)
    for batch in range(20):
        rate.record(1, waiting_since=0.0, now=10.0 + batch)
    assert rate.seconds_per_image == pytest.approx(1.0, rel=0.05)  # 0.8 ** 20 = 1 % of the old rate remains


def test_retry_after_without_measurements_is_one_second() -> None:
    assert ServiceRate().retry_after(1000) == 1
