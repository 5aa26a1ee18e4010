import asyncio
import uuid
from collections.abc import AsyncIterator
from functools import partial

import docker
import httpx
import pytest

from goalkeeper.domain.errors import InvalidGoal, NotFound
from goalkeeper.settings import Settings
from sandbox.containers import RunningContainer, ServiceContainers
from sandbox.engine import Engine
from tests.integration.sandbox.conftest import tar_of

BASE = Settings().sandbox_image
SERVE = ["python3", "-m", "http.server", "8000"]


class Services:
    """Services of one test, all labelled with a mark of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.containers = ServiceContainers(engine)
        self.mark = uuid.uuid4().hex[:12]
        self.labels = {"goalkeeper.test": self.mark}

    def name(self, suffix: str) -> str:
        """A name that no other test has."""
        return f"goalkeeper-test-{self.mark}-{suffix}"

    async def image(self, content: bytes = b"hello") -> str:
        """A small web service."""
        files = tar_of({"index.txt": content})
        name = f"goalkeeper-test-{self.mark}"
        return await self.containers.build(name, BASE, files, SERVE, self.labels)

    async def run(self, suffix: str, image: str, **environment: str) -> RunningContainer:
        """Run it."""
        return await self.containers.run(
            self.name(suffix),
            image,
            labels=self.labels,
            environment=environment,
            container_port=8000,
            memory_mb=64,
        )


@pytest.fixture
async def services(engine: Engine) -> AsyncIterator[Services]:
    """Containers and images of the test are removed after it."""
    services = Services(engine)
    yield services
    for container in await services.containers.list(services.labels):
        await engine.remove(container.id)
    label = {"label": f"goalkeeper.test={services.mark}"}
    images = await engine.call(lambda api: api.images(filters=label))
    for image in images:
        await engine.call(partial(_remove_image, str(image["Id"])))


def _remove_image(image: str, api: docker.APIClient) -> None:
    api.remove_image(image, force=True)


async def answer(container: RunningContainer) -> str:
    """What the service says once it listens."""
    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        while True:
            try:
                url = f"http://{container.host}:{container.port}/index.txt"
                return (await client.get(url)).text
            except httpx.TransportError:
                await asyncio.sleep(0.05)


async def test_a_service_answers_on_loopback_and_nowhere_else(services: Services) -> None:
    """Its port is chosen by the system and bound to 127.0.0.1."""
    container = await services.run("a", await services.image())
    assert await answer(container) == "hello"
    found = await services.engine.call(lambda api: api.inspect_container(container.id))
    (binding,) = found["NetworkSettings"]["Ports"]["8000/tcp"]
    assert binding == {"HostIp": "127.0.0.1", "HostPort": str(container.port)}


async def test_a_service_has_no_privilege(services: Services) -> None:
    """What a network service does not need, it does not get."""
    container = await services.run("a", await services.image())
    found = await services.engine.call(lambda api: api.inspect_container(container.id))
    host = found["HostConfig"]
    assert found["Config"]["User"] == "65534:65534"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] == host["MemorySwap"] == 64 * 1024 * 1024
    assert not host["Privileged"]
    assert "no-new-privileges" in host["SecurityOpt"]


async def test_a_service_does_not_reach_another_one(services: Services) -> None:
    """They share a network that lets nothing through between them."""
    image = await services.image()
    one, two = await services.run("a", image), await services.run("b", image)
    assert await answer(two) == "hello"
    found = await services.engine.call(lambda api: api.inspect_container(two.id))
    (network,) = found["NetworkSettings"]["Networks"].values()
    target = (network["IPAddress"], 8000)
    program = f"import socket; socket.create_connection({target!r}, 1)"

    def attempt(api: docker.APIClient) -> str:
        execution = api.exec_create(one.id, ["python3", "-c", program])
        said: bytes = api.exec_start(execution["Id"])
        return said.decode()

    assert "TimeoutError" in await services.engine.call(attempt)


async def test_the_same_inputs_give_the_same_image(services: Services) -> None:
    """A retried build is found, and other content is another image."""
    one, again, other = [await services.image(c) for c in (b"one", b"one", b"other")]
    assert one == again != other
    assert await services.containers.image_exists(one)
    assert not await services.containers.image_exists("sha256:" + "0" * 64)


async def test_running_the_same_again_changes_nothing(services: Services) -> None:
    """A retry of a lost attempt finds what it had started."""
    image = await services.image()
    one, two = await asyncio.gather(services.run("a", image), services.run("a", image))
    assert one == two == await services.run("a", image)
    assert await services.containers.list(services.labels) == [one]


async def test_running_something_else_under_a_name_replaces_it(services: Services) -> None:
    """A name is one container at most."""
    image = await services.image()
    one = await services.run("a", image)
    two = await services.run("a", image, GREETING="changed")
    assert one.id != two.id
    assert [c.id for c in await services.containers.list(services.labels)] == [two.id]


async def test_a_stopped_service_is_listed_and_started_again(services: Services) -> None:
    """Monitoring sees that it is down; running it again brings it back."""
    image = await services.image()
    container = await services.run("a", image)
    await services.engine.call(lambda api: api.kill(container.id))
    (stopped,) = await services.containers.list(services.labels)
    assert (stopped.state, stopped.port) == ("exited", 0)
    back = await services.run("a", image)
    assert (back.id, back.state) == (container.id, "running")
    assert await answer(back) == "hello"


async def test_a_removed_service_is_gone_and_removing_it_again_is_fine(services: Services) -> None:
    """A compensation may run twice."""
    container = await services.run("a", await services.image())
    await services.containers.stop_and_remove(container.name)
    await services.containers.stop_and_remove(container.name)
    assert await services.containers.list(services.labels) == []
    with pytest.raises(NotFound):
        await services.containers.logs(container.name)


async def test_a_services_last_lines_can_be_read(services: Services) -> None:
    """For the message when it does not become healthy."""
    container = await services.run("a", await services.image())
    await answer(container)
    assert "Serving HTTP" in await services.containers.logs(container.name, tail=10)


async def test_a_build_from_what_is_not_there_is_refused(services: Services) -> None:
    """The base image must be on the engine, and a source must be a tar."""
    with pytest.raises(InvalidGoal, match="docker pull no-such:1"):
        await services.containers.build("x", "no-such:1", tar_of({}), SERVE, {})
    with pytest.raises(InvalidGoal, match="is not on the engine"):
        await services.run("a", "sha256:" + "0" * 64)
