"""Images pushed to registries and pulled from them: the same image, from the same recipe, complete or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result
from registries import Memory, say, served

from hil.cli import main
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host import tools
from hil.host.progress import Progress
from hil.image import artifact, ensure, packages, recipe, store
from hil.image import build as builder
from hil.image.manifest import Manifest, find
from hil.image.packages import Packages
from hil.image.pull import pull
from hil.image.push import push
from hil.oci import connection, fetch
from hil.oci.manifests import MANIFESTS, REF_NAME

ARGUMENTS = ["-machine", "virt,virtualization=on", "-m", "size=64", "-kernel", "{kernel}"]
QUIET = Progress()


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Be on the machine of a name, at first `here`: caches and data of their own, no credentials, the same tools."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(tools, "version", lambda tool: f"{tool} 1")

    def use(machine: str) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine / "cache"))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / machine / "data"))
        return tmp_path / machine

    use("here")
    return use


def in_store(machine: Path) -> set[str]:
    """What is in cache and data of a machine, but for blobs and notes about digests."""
    found = {str(path.relative_to(machine)) for path in machine.glob("*/hil/*/*")}
    return {path for path in found if path.split("/")[2] not in ("oci", "digests")}


def files(directory: Path, names: set[str], content: bytes) -> dict[str, Any]:
    directory.mkdir(parents=True)
    facts = {}
    for name in names:
        data = content + name.encode()
        (directory / name).write_bytes(data)
        facts[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return {"files": facts, "digest": store.digest_of({name: fact["sha256"] for name, fact in facts.items()})}


def written(described: Manifest, directory: Path, content: bytes, **changed: str) -> None:
    planned = recipe.recipe(described)
    record = files(directory, described.machine.file_names(), content) | {
        "name": described.name,
        "key": planned.key,
        "recipe": planned.inputs | changed,
        "suite": packages.SUITE,
        "packages": {"busybox-static": "1.37"},
        "package_digests": {"busybox-static": "0" * 64},
        "toolchain": planned.toolchain,
    }
    (directory / store.RECORD).write_text(json.dumps(record))


def built(content: bytes = b"one ", **changed: str) -> store.Image:
    """Write a small reference image to the store as the builder does."""
    described = find("reference")
    written(described, store.directory_of(described, recipe.recipe(described).key), content, **changed)
    return opened(described)


def added(arguments: list[str] = ARGUMENTS, content: bytes = b"one ") -> store.Image:
    described = find("wasmedge-sel4")
    record = files(store.added_directory(described), {"kernel"}, content)
    origin = {"path": "/home/me/build", "sha256": None, "simulate": None, "command": "qemu ...", "added": "today"}
    (store.added_directory(described) / store.ADDED).write_text(
        json.dumps(record | {"arguments": arguments, "origin": origin})
    )
    return opened(described)


def opened(described: Manifest) -> store.Image:
    image = store.open(described)
    assert image is not None
    return image


@contextmanager
def pushed(image: store.Image) -> Iterator[tuple[str, Memory, list[tuple[str, str | None]]]]:
    """Push the image; give its pinned reference, the registry and what it was asked since."""
    memory = Memory()
    with served(memory) as (host, asked):
        where = push(image.manifest, f"{host}/team/image:v1", progress=QUIET)
        asked.clear()
        yield where, memory, asked


# ---- there and back ----


def missing(tool: str) -> str:
    raise tools.missing(tool)


def test_a_pulled_image_is_the_one_that_was_pushed(at, monkeypatch):
    image = built()
    with pushed(image) as (where, memory, asked):
        host = where.partition("/")[0]
        assert where == f"{host}/team/image@sha256:{hashlib.sha256(memory.manifests['v1']).hexdigest()}"
        at("there")
        monkeypatch.setattr(tools, "version", missing)  # nothing can be built there
        pulled = pull(where, progress=QUIET)
    assert pulled.digest == image.digest
    assert {name: path.read_bytes() for name, path in pulled.files.items()} == {
        name: path.read_bytes() for name, path in image.files.items()
    }
    assert (pulled.manifest, pulled.pulled) == (image.manifest, where)
    assert ensure(find("reference"), QUIET) == pulled, "what any test gets"
    store.verify(pulled)
    asked.clear()
    assert pull(where, progress=QUIET) == pulled, "without the registry"
    assert asked == []
    assert [pulled.record[key] for key in ("packages", "recipe")] == [
        image.record[key] for key in ("packages", "recipe")
    ]
    assert {path.stat().st_mode & 0o777 for path in pulled.files.values()} == {0o600}


def test_without_a_compiler_the_hint_names_the_other_way(monkeypatch):
    monkeypatch.setattr(tools, "version", missing)
    with pytest.raises(InfrastructureError, match="gcc") as caught:
        store.open(find("reference"))
    assert "hil image pull" in (caught.value.hint or "")


def test_the_same_image_is_the_same_artifact_and_its_files_are_sent_once(at):
    with pushed(built()) as (where, _, asked):
        at("there")
        image = pull(where, progress=QUIET)
        again = push(image.manifest, f"oci+http://{where.partition('@')[0]}:v2", progress=QUIET)
        assert again == f"oci+http://{where}"
        assert [what.split("?")[0] for what, _ in asked if what.startswith("PUT")] == [
            "PUT /v2/team/image/manifests/v2"
        ]


def test_a_tag_is_recorded_with_its_digest_and_looked_up_each_time(at):
    with pushed(built()) as (where, _, _):
        tag = f"{where.partition('@')[0]}:v1"
        there = at("there")
        first = pull(tag, progress=QUIET)
        assert (first.pulled, first.record["origin"]["tag"]) == (where, "v1")
        at("third")
        pinned = push(built(b"two ").manifest, tag, progress=QUIET)
        at("there")
        moved = pull(tag, progress=QUIET)
    assert moved.digest != first.digest
    assert moved.pulled == pinned != where
    assert opened(find("reference")).digest == moved.digest
    assert in_store(there) == {f"cache/hil/images/{first.directory.name}"}, "it takes the place of the first"


def test_a_pulled_image_is_used_until_another_is_built_by_force(at, monkeypatch):
    monkeypatch.setattr(packages, "fetch", lambda *_: Packages(Path("none"), {}, {}))
    monkeypatch.setattr(builder, "NEEDED", 1)
    monkeypatch.setattr(builder, "_make", lambda described, _, __, ___, result, *_more: make(described, result))

    def make(described: Manifest, result: Path) -> None:
        result.rmdir()
        written(described, result, b"built here ")

    with pushed(built()) as (where, _, _):
        at("there")
        own = builder.build(find("reference"), progress=QUIET)
        assert (own.pulled, own.provenance) == ("", "built here")
        pulled = pull(where, progress=QUIET)
        assert pulled.digest != own.digest
        assert builder.build(find("reference"), progress=QUIET) == opened(find("reference")) == pulled
        again = builder.build(find("reference"), progress=QUIET, force=True)
        assert opened(find("reference")) == again
        assert again.digest == own.digest


def test_an_image_in_a_layout(at, tmp_path):
    """As `oras copy --to-oci-layout` makes it."""
    with pushed(built()) as (where, memory, _):
        pass
    layout = tmp_path / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    digest = where.partition("@")[2]
    for name, data in (memory.blobs | {digest: memory.manifests["v1"]}).items():
        (layout / "blobs/sha256" / name.removeprefix("sha256:")).write_bytes(data)
    entry = {"mediaType": MANIFESTS[0], "digest": digest, "size": len(memory.manifests["v1"])}
    entries = [
        {**entry, "annotations": {REF_NAME: "v1"}},
        {**entry, "platform": {"os": "linux", "architecture": "arm"}},
    ]
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    at("there")
    assert pull(f"oci-layout:{layout}:v1", progress=QUIET).pulled == f"oci-layout:{layout}@{digest}"
    with pytest.raises(ConfigurationError, match="cannot be pushed to a layout"):
        push(find("reference"), f"oci-layout:{layout}:v2", progress=QUIET)


def test_an_added_image(at):
    image = added()
    with pushed(image) as (where, _, _):
        there = at("there")
        pulled = pull(where, progress=QUIET)
        assert (pulled.digest, pulled.manifest.machine.arguments) == (image.digest, tuple(ARGUMENTS))
        assert pulled.command()[:-1] == image.command()[:-1]
        assert "/home/me" not in json.dumps(pulled.record), "nothing of the machine where it was added"
        assert in_store(there) == {"data/hil/images/wasmedge-sel4"}
        assert push(pulled.manifest, f"{where.partition('@')[0]}:v2", progress=QUIET) == where
        at("third")
        own = added(content=b"another ")
        with pytest.raises(ConfigurationError, match="was added") as caught:
            pull(where, progress=QUIET)
        assert "--force" in (caught.value.hint or "")
        assert opened(own.manifest).digest == own.digest
        assert pull(where, force=True, progress=QUIET).digest == image.digest


# ---- what is refused, and leaves nothing behind ----


def test_an_image_of_another_recipe_is_refused_with_what_differs(at):
    changed = {"sources/runner.c": "0" * 64, "recipe/gone": "0" * 64, "sources/\n\x1b[2J": "0" * 64}
    with pushed(built(**changed)) as (where, _, _):
        there = at("there")
        with pytest.raises(
            ConfigurationError, match=r"changed: sources/runner\.c; only there: recipe/gone, sources/"
        ) as caught:
            pull(where, progress=QUIET)
    assert not set(caught.value.message) & set("\n\x1b")
    assert "hil image build reference" in (caught.value.hint or "")
    assert in_store(there) == set()


def test_another_machine_in_the_manifest_is_another_recipe(at, monkeypatch):
    with pushed(built()) as (where, _, _):
        at("there")
        described = find("reference")
        other = described.model_copy(update={"machine": described.machine.model_copy(update={"load": ()})})
        monkeypatch.setattr("hil.image.manifest.find", lambda _: other)
        with pytest.raises(ConfigurationError, match="changed: machine"):
            pull(where, progress=QUIET)


Change = Callable[[dict[str, Any], dict[str, Any]], object]


def changed(memory: Memory, change: Change) -> str:
    """Change manifest and config, with their digests right again, and return the digest."""
    document = json.loads(memory.manifests["v1"])
    config = json.loads(memory.blobs[document["config"]["digest"]])
    before = json.dumps(config)
    change(document, config)
    if json.dumps(config) != before:
        data = json.dumps(config).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        memory.blobs[digest] = data
        document["config"] |= {"digest": digest, "size": len(data)}
    data = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    memory.manifests[digest] = data
    return digest


def renamed(name: str) -> Change:
    def change(document: dict[str, Any], config: dict[str, Any]) -> None:
        config["files"][name] = config["files"].pop("xen")
        digests = {each: facts["sha256"] for each, facts in config["files"].items()}
        config["digest"] = store.digest_of(digests)
        document["layers"][-2]["annotations"]["org.opencontainers.image.title"] = name

    return change


def sized(size: int) -> Change:
    def change(document: dict[str, Any], config: dict[str, Any]) -> None:
        title = document["layers"][0]["annotations"]["org.opencontainers.image.title"]
        document["layers"][0]["size"] = config["files"][title]["size"] = size

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (renamed("../../escaped"), "config is wrong: files"),
        (renamed("/etc/cron.d/x"), "config is wrong: files"),
        (renamed("build.json"), "build.json"),
        (renamed("other"), "'xen'"),
        (sized(1 << 40), "4096 MiB"),
        (sized(-1), "layers.0.size"),
        (lambda document, config: document["layers"].pop(), "layers are not the files"),
        (lambda document, config: document["layers"].append(document["layers"][0]), "layers are not the files"),
        (lambda document, config: document["layers"].extend(document["layers"] * 40), "files, 127 at most"),
        (lambda document, config: document["layers"][0].update(mediaType="text/plain"), "layers are not the files"),
        (lambda document, config: document["config"].update(mediaType="text/plain"), "not an image to boot"),
        (lambda document, config: config.update(digest="0" * 64), "digest"),
        (lambda document, config: config.update(name="unheard-of"), "unheard-of.toml"),
        (lambda document, config: config.update(name="wasmedge-sel4"), "built by a recipe"),
        (lambda document, config: config.update(schema=2), "schema"),
        (lambda document, config: config.pop("build"), "build and added"),
        (lambda document, config: config["build"].update(packages={"x": 1}), "build.packages.x"),
    ],
)
def test_an_odd_artifact_is_refused(at, tmp_path, change, expected):
    with pushed(built()) as (where, memory, asked):
        there = at("there")
        digest = changed(memory, change)
        asked.clear()
        with pytest.raises(ConfigurationError) as caught:
            pull(f"{where.partition('@')[0]}@{digest}", progress=QUIET)
    assert expected in f"{caught.value.message} {caught.value.hint}"
    assert len(asked) <= 2, "no file was requested"
    assert in_store(there) == set()
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("extra", [["-drive", "file=/etc/passwd"], ["-kernel", "/etc/passwd"], ["-dtb", "{dtb}"]])
def test_arguments_that_do_more_than_describe_a_machine_are_refused(at, extra):
    with pushed(added()) as (where, memory, _):
        there = at("there")
        digest = changed(memory, lambda _, config: config["added"]["arguments"].extend(extra))
        with pytest.raises(ConfigurationError, match=r"-drive|-kernel|'dtb'"):
            pull(f"{where.partition('@')[0]}@{digest}", progress=QUIET)
    assert in_store(there) == set()


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def slow(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda handler: say(handler, 200, b"x" * len(b"one kernel")), "have the digest"),
        (lambda handler: say(handler, 200, b""), "but has only 0"),
        (endless, "has more"),
        (slow, "not complete after"),
        (lambda handler: say(handler, 307, Location="http://registry.example/x"), "TLS"),
        (lambda handler: say(handler, 500), "500"),
    ],
    ids=["other", "empty", "endless", "slow", "redirect", "down"],
)
def test_a_hostile_registry_is_refused(at, monkeypatch, answer, expected):
    with pushed(built()) as (where, memory, _):
        layer = json.loads(memory.manifests["v1"])["layers"][2]["digest"]  # the first two are right

        def lie(handler: BaseHTTPRequestHandler) -> None:
            answer(handler) if handler.path.endswith(layer) else memory(handler)

        with served(lie) as (host, _):
            there = at("there")
            monkeypatch.setattr(connection, "TOTAL", 1.0 if answer is slow else connection.TOTAL)
            with pytest.raises(InfrastructureError, match=expected):
                pull(f"{host}/{where.partition('/')[2]}", progress=QUIET)
    assert in_store(there) == set()


def test_a_digest_accepts_nothing_else(at):
    with pushed(built()) as (where, memory, _):
        at("there")
        asked_for = where.partition("@")[2]
        memory.manifests[asked_for] = memory.manifests[changed(memory, lambda document, _: document.update(x=1))]
        with pytest.raises(InfrastructureError, match=f"stored as {asked_for} have the digest"):
            pull(where, progress=QUIET)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_a_pull_leaves_nothing(at, monkeypatch, error):
    save, saved = fetch.Fetch.save, []

    def interrupted(self: fetch.Fetch, layer: object, target: Path) -> Iterator[int]:
        saved.append(target)
        yield from save(self, layer, target)
        if len(saved) == 3:
            raise error

    with pushed(built()) as (where, _, _):
        there = at("there")
        monkeypatch.setattr(fetch.Fetch, "save", interrupted)
        expected = InfrastructureError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected, match="full" if isinstance(error, OSError) else None):
            pull(where, progress=QUIET)
    assert in_store(there) == set()
    assert not (there / "cache/hil/staging").exists()


def test_space_is_looked_for_first(at):
    with pushed(built()) as (where, memory, asked):
        at("there")
        digest = changed(memory, lambda *of: [sized((4 << 30) - 4096)(*of)])
        asked.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1 << 30}))
            with pytest.raises(InfrastructureError, match="not enough space"):
                pull(f"{where.partition('@')[0]}@{digest}", progress=QUIET)
    assert len(asked) == 2


def test_two_pulls_at_once_download_it_once(at):
    with pushed(built()) as (where, memory, asked):
        at("there")
        results: list[store.Image | HilError] = []
        workers = [threading.Thread(target=lambda: results.append(pull(where, progress=QUIET))) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert results[0] == results[1]
    layers = {layer["digest"] for layer in json.loads(memory.manifests["v1"])["layers"]}
    assert sorted(path.rpartition("/")[2] for path, _ in asked if path.rpartition("/")[2] in layers) == sorted(layers)


def test_a_damaged_image_is_pulled_again(at):
    with pushed(built()) as (where, _, _):
        at("there")
        image = pull(where, progress=QUIET)
        path = image.files["kernel"]
        path.write_bytes(path.read_bytes()[::-1])
        with pytest.raises(InfrastructureError, match="since it was pulled") as caught:
            store.verify(image)
        assert f"hil image pull {where}" in (caught.value.hint or "")
        store.verify(pull(where, progress=QUIET))


# ---- pushing ----


def test_what_cannot_be_pushed(at, tmp_path):
    image = built()
    for where, expected in (
        (f"r.example/image@sha256:{'0' * 64}", "to a digest"),
        ("r.example/Image", "'Image' is not a repository's name"),
        ("https://r.example/image", "is not a registry's HOST"),
    ):
        with pytest.raises(ConfigurationError, match=expected):
            push(image.manifest, where, progress=QUIET)
    with pytest.raises(ConfigurationError, match="has not been added"):
        push(find("wasmedge-sel4"), "r.example/image", progress=QUIET)
    image.files["kernel"].write_bytes(b"ONE kernel")
    with served(Memory()) as (host, asked), pytest.raises(InfrastructureError, match="has changed"):
        push(image.manifest, f"{host}/image", progress=QUIET)
    assert asked == []


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (401, ConfigurationError, "may write to it"),
        (403, ConfigurationError, "may write to it"),
        (405, InfrastructureError, "405"),
        (307, InfrastructureError, "307"),
        (202, InfrastructureError, "names no location"),
    ],
)
def test_a_registry_that_takes_nothing(status, error, expected):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        more = {"Location": "https://other.example/"} if status == 307 else {}
        say(handler, status, **more) if handler.command == "POST" else say(handler, 404)

    image = built()
    with served(answer) as (host, _), pytest.raises(error) as caught:
        push(image.manifest, f"{host}/image:v1", progress=QUIET)
    assert expected in str(caught.value)


def test_credentials_do_not_follow_an_upload_to_another_host(tmp_path, monkeypatch):
    sent: list[Any] = []
    request = requests.Session.request

    def watched(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        if "other.example" not in url:
            return request(self, method, url, **options)
        sent.append(options["auth"])
        raise requests.exceptions.ConnectionError("enough")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if not handler.headers.get("Authorization"):
            say(handler, 401, WWW_Authenticate='Basic realm="x"')
        elif handler.command == "POST":
            say(handler, 202, Location="https://other.example/upload")
        else:
            say(handler, 404)

    monkeypatch.setattr(requests.Session, "request", watched)
    with served(answer) as (host, _):
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {host: {"auth": "bWU6d29yZA=="}}}))
        with pytest.raises(InfrastructureError, match="enough"):
            push(built().manifest, f"{host}/image:v1", progress=QUIET)
    assert sent == [None]


def test_an_upload_does_not_leave_tls(at):
    with served(Memory()) as (other, seen):

        def answer(handler: BaseHTTPRequestHandler) -> None:
            if handler.command == "POST":
                say(handler, 202, Location=f"http://{other}/upload")
            else:
                say(handler, 404)

        with served(answer) as (host, _), pytest.raises(InfrastructureError, match="TLS"):
            push(built().manifest, f"{host}/image:v1", progress=QUIET)
    assert seen == []


def test_a_token_to_push_is_requested(tmp_path):
    memory = Memory()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        host = handler.headers["Host"]
        if handler.path.startswith("/token"):
            say(handler, 200, b'{"token": "abc"}')
        elif handler.headers.get("Authorization") != "Bearer abc":
            scope = "repository:image:pull"
            say(handler, 401, WWW_Authenticate=f'Bearer realm="http://{host}/token",service="reg",scope="{scope}"')
        else:
            memory(handler)

    with served(answer) as (host, asked):
        push(built().manifest, f"{host}/image", progress=QUIET)
    assert [path for path, _ in asked if "/token" in path] == [
        "/token?scope=repository%3Aimage%3Apull%2Cpush&service=reg"
    ]
    assert "latest" in memory.manifests


# ---- commands ----


def hil(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_the_commands(at):
    image = built()
    with served(Memory()) as (host, _):
        done = hil("image", "push", "reference", f"{host}/image:v1")
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith(f"{host}/image@sha256:")
        pinned = done.stdout.strip()
        at("there")
        done = hil("image", "pull", f"{host}/image:v1")
        assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(image.digest)
    assert done.stdout.splitlines()[-1] == f"pulled from {pinned}"
    assert "pulling image reference" in done.stderr
    row = next(row for row in json.loads(hil("image", "list", "--json").stdout) if row["name"] == "reference")
    assert row["state"].endswith(f"pulled from {pinned}")
    assert f"pulled from {pinned}" in hil("image", "info", "reference").stdout
    assert json.loads(hil("image", "info", "reference", "--json").stdout)["origin"]["pulled"] == pinned
    assert hil("image", "pull", "registry.example/Image").exit_code == 2


def test_the_media_types_are_documented():
    text = (Path(__file__).parents[2] / "docs/adding-an-image.md").read_text()
    assert not [kind for kind in (artifact.ARTIFACT, artifact.CONFIG, artifact.FILE) if f"`{kind}`" not in text]
