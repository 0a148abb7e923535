"""Loading and unloading by tritonclient with API keys, against a server process."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.auth.keyfile import line_of, new_key
from tests.service.artifacts import add_artifact
from tests.service.process import serving
from tests.service.protocol_v2.answers import pixels
from tests.service.protocol_v2.test_triton_client import check, image_input

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class AdminServer:
    """Client of a server with API keys and without periodic reload."""

    client: InferenceServerClient
    repository: Path
    admin: dict[str, str]
    user: dict[str, str]

    def index(self) -> dict[tuple[str, str], tuple[str, str | None]]:
        entries = self.client.get_model_repository_index(headers=self.user)
        return {(entry["name"], entry["version"]): (entry["state"], entry.get("reason")) for entry in entries}


@pytest.fixture
def server_(tmp_path: Path) -> Iterator[AdminServer]:
    repository = tmp_path / "repository"
    add_artifact(repository)
    add_artifact(repository, variant="other")
    keys = {name: new_key(name, admin=name == "admin") for name in ("admin", "user")}
    (tmp_path / "keys").write_text("".join(line_of(key) + "\n" for _, key in keys.values()))
    flags = ("--repository", str(repository), "--api-keys-file", str(tmp_path / "keys"), "--reload-seconds", "0")
    admin, user = ({"Authorization": f"Bearer {keys[name][0]}"} for name in ("admin", "user"))
    with (
        serving(tmp_path, "--port", "0", "--threads", "1", *flags) as server,
        InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        yield AdminServer(client, repository, admin, user)
    assert "Traceback" not in server.log.read_text()


def test_only_an_admin_loads_and_unloads(server_: AdminServer) -> None:
    client, name = server_.client, "colours@mean"
    images, inputs = pixels(1), [image_input(pixels(1), binary=True)]
    assert client.is_server_ready()  # without a key
    for headers, status in (({}, "401"), (server_.user, "403")):
        for act in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException) as refused:
                act(name, headers=headers)
            assert refused.value.status() == status
    check(client.infer(name, inputs, headers=server_.user), images)

    client.unload_model(name, headers=server_.admin)
    assert not client.is_model_ready(name, headers=server_.user)
    with pytest.raises(InferenceServerException, match="has no variant 'mean'; known: other") as unknown:
        client.infer(name, inputs, headers=server_.user)
    assert unknown.value.status() == "404"
    assert server_.index()[name, "1"] == ("UNAVAILABLE", "it was unloaded on request; load it to serve it again")
    assert server_.index()["colours@other", "1"] == ("READY", None)

    client.load_model(name, headers=server_.admin)
    assert server_.index()[name, "1"] == ("READY", None)
    check(client.infer(name, inputs, headers=server_.user), images)


def test_load_serves_a_new_version_and_refuses_a_damaged_one_with_the_reason(server_: AdminServer) -> None:
    client, name = server_.client, "colours@mean"
    add_artifact(server_.repository, version=2)
    add_artifact(server_.repository, version=3)
    (server_.repository / "colours/mean/3/labels.txt").write_text("wrong")
    with pytest.raises(InferenceServerException, match="refused colours/mean/3: ") as refused:
        client.load_model(name, headers=server_.admin)
    assert refused.value.status() == "422"
    assert {version: state for (found, version), (state, _) in server_.index().items() if found == name} == {
        "1": "READY",
        "2": "READY",
        "3": "UNAVAILABLE",
    }
    ready = client.get_model_metadata(name, headers=server_.user)
    assert ready["versions"] == ["1", "2"]


def test_loading_an_unknown_model_or_with_a_config_is_refused(server_: AdminServer) -> None:
    for act in (server_.client.load_model, server_.client.unload_model):
        with pytest.raises(InferenceServerException, match="'birds'") as unknown:
            act("birds", headers=server_.admin)
        assert unknown.value.status() == "404"
    with pytest.raises(InferenceServerException, match="'config' is not supported") as refused:
        server_.client.load_model("colours", headers=server_.admin, config='{"max_batch_size": 1}')
    assert refused.value.status() == "400"
