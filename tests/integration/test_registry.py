"""Modules from a real registry, pushed as teams push them; images pushed to one and pulled from it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import oras.provider
import pytest
from limits import HANG, processor_time

from hil.errors import ConfigurationError, InfrastructureError
from hil.host.processes import tied
from hil.host.progress import Progress
from hil.image import ensure, manifest, store
from hil.image.pull import pull
from hil.image.push import push as push_image
from hil.wasm import Samples, oci

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "wasm_samples/hello.wasm"
EXIT = ROOT / "wasm_samples/exit.wasm"
LIMIT = 60.0  # seconds for a registry to listen
WASM = "application/wasm"
HASHED = "$2b$04$/6rtenjWYLRRPG382.UULurjF.51EesZKYDSidUczicdhh3YgCDgS"  # of "word"


class Registry:
    """A registry on a port of its own, with its blobs below `path`."""

    def __init__(self, path: Path, *, http: str = "", auth: str = "") -> None:
        binary = shutil.which("docker-registry")
        assert binary, "docker-registry is not installed; ./bootstrap does that"
        self.path = path
        path.mkdir()
        (path / "config.yml").write_text(
            "version: 0.1\n"
            f"storage: {{filesystem: {{rootdirectory: {path}/blobs}}}}\n"
            f'http: {{addr: "127.0.0.1:0", secret: x{http}}}\n{auth}'
        )
        self._log = path / "log"
        with self._log.open("wb") as log:
            command = tied([binary, "serve", str(path / "config.yml")])
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def address(self) -> str:
        """Return HOST:PORT as soon as it listens."""
        deadline = time.monotonic() + LIMIT
        while not (found := re.search(rb"listening on (127\.0\.0\.1:\d+)", self._log.read_bytes())):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)
        return found[1].decode()

    def blob(self, digest: str) -> Path:
        value = digest.removeprefix("sha256:")
        return self.path / "blobs/docker/registry/v2/blobs/sha256" / value[:2] / value / "data"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def registry(path: Path, **more: str) -> Iterator[Registry]:
    made = Registry(path, **more)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("hil.oci.cache.cache_root", lambda: tmp_path / "cache")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path


def push(host: str, name: str, *files: str, kind: str = "application/vnd.wasm.config.v0+json", who=None) -> str:
    """Push files (PATH:TYPE) and return the digest of the manifest that the registry says."""
    client = oras.provider.Registry(insecure=True, auth_backend="basic" if who else "token")
    if who:
        client.auth.set_basic_auth(*who)
    config = json.dumps({"architecture": "wasm", "os": "wasip1"})
    path = Path("config.json")
    path.write_text(config)
    answer = client.push(
        f"{host}/{name}", files=list(files), manifest_config=f"{path}:{kind}", disable_path_validation=True, quiet=True
    )
    return str(answer.headers["Docker-Content-Digest"])


@pytest.fixture(autouse=True)
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path / "registry") as made:
        yield made


def test_a_tag_is_resolved_and_what_was_pulled_needs_no_registry_again(served):
    host = served.address()
    digest = push(host, "team/hello:v1", f"{HELLO}:{WASM}")
    module = Samples()(f"oci://{host}/team/hello:v1")
    assert (module.name, module.data) == ("hello.wasm", HELLO.read_bytes())
    assert module.source == f"oci://{host}/team/hello:v1@{digest}"
    moved = push(host, "team/hello:v1", f"{EXIT}:{WASM}")
    assert oci.load(f"oci://{host}/team/hello:v1").source.endswith(moved)
    assert oci.load(module.source) == module
    served.stop()
    assert oci.load(module.source) == module
    assert oci.load(f"oci://{host}/team/hello@{moved}").data == EXIT.read_bytes()
    with pytest.raises(InfrastructureError, match="Connection refused"):
        oci.load(f"oci://{host}/team/hello:v1")


def test_what_is_not_there_and_what_is_no_module(served):
    host = served.address()
    push(host, "two:v1", f"{HELLO}:{WASM}", f"{EXIT}:{WASM}")
    push(host, "text:v1", f"{Path(__file__)}:text/plain", kind="application/vnd.unknown.config.v1+json")
    push(host, "old:v1", f"{HELLO}:application/vnd.wasm.content.layer.v1+wasm")
    for name, told in (
        ("two:v2", "manifest unknown"),
        ("three:v1", "registry"),
        (f"two@sha256:{'0' * 64}", "manifest unknown"),
        ("two:v1", r"it has 2 wasm layers: hello\.wasm .*, exit\.wasm "),
        ("text:v1", r"it holds no wasm layer, but test_registry\.py text/plain"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            oci.load(f"oci://{host}/{name}")
    assert oci.load(f"oci://{host}/old:v1").data == HELLO.read_bytes()


def test_a_byte_that_changed_in_the_registry_is_seen(served):
    host = served.address()
    digest = push(host, "m:v1", f"{HELLO}:{WASM}")
    layer = f"sha256:{Samples()['hello'].sha256}"
    for victim, where in ((digest, f"m@{digest}"), (layer, "m:v1")):
        path = served.blob(victim)
        kept = path.read_bytes()
        path.write_bytes(kept[:-9] + bytes([kept[-9] ^ 1]) + kept[-8:])
        with pytest.raises(InfrastructureError, match=str(victim)):
            oci.load(f"oci://{host}/{where}")
        path.write_bytes(kept)
    assert oci.load(f"oci://{host}/m@{digest}").data == HELLO.read_bytes()


def test_a_password_is_asked_for_and_found(home):
    (home / "htpasswd").write_text(f"me:{HASHED}\n")
    auth = f"auth: {{htpasswd: {{realm: test, path: {home}/htpasswd}}}}\n"
    with registry(home / "registry", auth=auth) as made:
        host = made.address()
        push(host, "m:v1", f"{HELLO}:{WASM}", who=("me", "word"))
        with pytest.raises(ConfigurationError, match="password"):
            oci.load(f"oci://{host}/m:v1")
        (home / "docker").mkdir()
        for word, good in (("bWU6bm8=", False), ("bWU6d29yZA==", True)):  # me:no, me:word
            (home / "docker/config.json").write_text(json.dumps({"auths": {host: {"auth": word}}}))
            if good:
                assert oci.load(f"oci://{host}/m:v1").data == HELLO.read_bytes()
            else:
                with pytest.raises(ConfigurationError, match="401 Unauthorized"):
                    oci.load(f"oci://{host}/m:v1")


def test_tls_is_verified(home, monkeypatch):
    key, certificate = home / "key.pem", home / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    options = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *words.split(), *options], check=True, capture_output=True, timeout=HANG)
    with registry(home / "registry", http=f", tls: {{certificate: {certificate}, key: {key}}}") as made:
        host = made.address()
        with pytest.raises(InfrastructureError, match=r"(?s)TLS failed: .*certificate.*REQUESTS_CA_BUNDLE"):
            oci.load(f"oci+https://{host}/m:v1")
        with pytest.raises(InfrastructureError, match="400"):  # plain HTTP is never tried instead, but on request
            oci.load(f"oci://{host}/m:v1")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with pytest.raises(ConfigurationError, match="registry"):
            oci.load(f"oci+https://{host}/m:v1")


def test_the_reference_image_goes_to_a_registry_and_to_another_machine(served, home, monkeypatch):
    image = ensure(manifest.find("reference"), Progress())
    host = served.address()
    with processor_time() as spent:
        pinned = push_image(image.manifest, f"{host}/team/reference:v1", progress=Progress())
        assert push_image(image.manifest, f"{host}/team/reference:v2", progress=Progress()) == pinned
        monkeypatch.setenv("XDG_CACHE_HOME", str(home / "there"))
        monkeypatch.setenv("PATH", "/nowhere")  # no compiler
        pulled = ensure_pulled(f"{host}/team/reference:v1")
        assert spent() < 15
    assert pulled.directory.is_relative_to(home / "there")
    assert (pulled.digest, pulled.pulled, pulled.manifest) == (image.digest, pinned, image.manifest)
    store.verify(pulled)
    served.stop()
    assert pull(pinned, progress=Progress()) == pulled


def ensure_pulled(where: str) -> store.Image:
    """Pull the image; return what a test gets then."""
    pull(where, progress=Progress())
    return ensure(manifest.find("reference"), Progress())


def test_oras_pulls_an_image_as_files(served, home):
    image = ensure(manifest.find("reference"), Progress())
    host = served.address()
    pinned = push_image(image.manifest, f"{host}/team/reference:v1", progress=Progress())
    oras.provider.Registry(insecure=True).pull(pinned, outdir=str(home / "out"))
    assert {path.name: store.sha256(path) for path in (home / "out").iterdir()} == {
        name: file["sha256"] for name, file in image.record["files"].items()
    }


def test_what_was_deployed_is_in_the_report(served, home):
    """Both ways to the reference image: a suite, with Allure's results, and `hil run`."""
    host = served.address()
    digest = push(host, "team/hello:v1", f"{HELLO}:{WASM}")
    reference = f"oci://{host}/team/hello:v1"
    Path("test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.board\n"
        "def test_it(runner, sample):\n"
        f"    assert runner.run(sample({reference!r})).good\n"
    )
    pytest_ = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    suite = subprocess.run(
        [*pytest_, "test_it.py", "--rootdir", ".", "--alluredir", "results"],
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert suite.returncode == 0, suite.stdout
    (facts,) = [
        json.loads(path.read_text())[0]
        for path in Path("results").glob("*.json")
        if '"agent status"' in path.read_text()
    ]
    assert facts["source"] == f"{reference}@{digest}"
    assert facts["sha256"] == Samples()["hello"].sha256
    hil = [sys.executable, "-c", "from hil.cli import main; main()"]
    done = subprocess.run([*hil, "run", "--json", reference], cwd=ROOT, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"] == f"{reference}@{digest}"
    assert f"{reference}@{digest}" in done.stderr
