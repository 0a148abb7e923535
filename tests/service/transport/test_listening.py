"""Address that the server listens on."""

import pytest

from service.problems.errors import AddressError
from service.transport.listening import bind


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "a" * 5000, "256.1.1.1", "unix:/tmp/service"])
def test_a_host_that_is_no_name_or_address_is_an_error_with_the_remedy(host: str) -> None:
    remedy = r"cannot listen on .* port 0: .*; choose another --host or --port"
    with pytest.raises(AddressError, match=remedy) as caught:
        bind(host, 0)
    assert len(str(caught.value)) < 400
