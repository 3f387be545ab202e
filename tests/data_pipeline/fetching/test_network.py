"""Certificates, redirects and proxies, against local servers."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_pipeline.errors import DataError
from data_pipeline.fetching.checks import json_check
from data_pipeline.fetching.fetch import fetch
from data_pipeline.fetching.items import Item, Policy
from data_pipeline.fetching.network import Network

IS_JSON = json_check(lambda content: None)
BODY = b'{"sound": true}'


class Handler(BaseHTTPRequestHandler):
    """Answers with `BODY`; `/to/<address>` leads on to the address."""

    seen: list[str]

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *arguments: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that end the handshake."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


def serving(context: ssl.SSLContext | None = None) -> Quiet:
    server = Quiet(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture
def plain():
    server = serving()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A certificate of 127.0.0.1 that an intermediate authority signed, and the files of the chain."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "authority.ext").write_text(
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid\n"
    )
    (folder / "server.ext").write_text(
        "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    for name, signer, kind in (
        ("root", "root", "authority"),
        ("middle", "root", "authority"),
        ("server", "middle", "server"),
    ):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ["-signkey", "root.key"] if name == signer else ["-CA", f"{signer}.pem", "-CAkey", f"{signer}.key"]
        serial = [] if name == signer else ["-CAcreateserial"]
        made = ["-in", f"{name}.csr", "-out", f"{name}.pem", "-days", "30", "-extfile", f"{kind}.ext"]
        openssl(folder, "x509", "-req", *made, *signing, *serial)
    return folder


def openssl(folder, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def secured(chain):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain / "server.pem", chain / "server.key")  # the intermediate is left out
    server = serving(context)
    yield server
    server.shutdown()
    server.server_close()


def one(url: str, folder, **policy):
    return fetch([Item(url, "a.json", IS_JSON)], folder, Policy(attempts=2, interval=0.0, wait=0.0, **policy))


def test_an_unknown_authority_is_told_once_and_how_to_name_it(secured, tmp_path):
    url = f"https://127.0.0.1:{secured.server_port}/a.json"
    refused = one(url, tmp_path).refused["a.json"]
    assert "unable to get local issuer certificate" in refused
    assert "--ca-file" in refused
    assert "given up after" not in refused
    assert secured.seen == []
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("named", ["middle.pem", "root.pem and middle.pem"])
def test_the_intermediate_alone_or_with_its_root_makes_it_trusted(secured, chain, tmp_path, named):
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(b"".join((chain / name).read_bytes() for name in named.split(" and ")))
    url = f"https://127.0.0.1:{secured.server_port}/a.json"
    assert one(url, tmp_path / "raw", ca_file=str(ca_file)).complete
    assert (tmp_path / "raw" / "a.json").read_bytes() == BODY


def test_another_name_than_the_certificates_is_not_mended_by_an_authority(secured, chain, tmp_path):
    url = f"https://localhost:{secured.server_port}/a.json"
    refused = one(url, tmp_path, ca_file=str(chain / "middle.pem")).refused["a.json"]
    assert "certificate cannot be verified" in refused
    assert "--ca-file" not in refused


def test_a_server_without_certificates_is_no_matter_of_trust(plain, tmp_path):
    refused = one(f"https://127.0.0.1:{plain.server_port}/a.json", tmp_path).refused["a.json"]
    assert "given up after 2 attempts" in refused
    assert "certificate" not in refused


def test_a_file_that_is_no_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(DataError, match="holds no usable certificate"):
        Network(str(tmp_path / "ca.pem"))


def test_a_secured_server_may_not_lead_to_an_open_one(secured, plain, chain, tmp_path):
    leads = f"https://127.0.0.1:{secured.server_port}/to/http://127.0.0.1:{plain.server_port}/a.json"
    refused = one(leads, tmp_path, ca_file=str(chain / "middle.pem")).refused["a.json"]
    assert "which nothing protects" in refused
    assert plain.seen == []
    back = f"http://127.0.0.1:{plain.server_port}/to/https://127.0.0.1:{secured.server_port}/a.json"
    assert one(back, tmp_path, ca_file=str(chain / "middle.pem")).complete


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/a.json", "//[::1/a"])
def test_a_server_may_lead_to_no_other_kind_of_place(plain, tmp_path, place):
    report = one(f"http://127.0.0.1:{plain.server_port}/to/{place}", tmp_path)
    assert list(report.refused) == ["a.json"]
    assert not (tmp_path / "a.json").exists()
    assert len(plain.seen) == 1


def test_a_proxy_is_asked_unless_the_environment_leaves_the_host_out(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", f"user:word@127.0.0.1:{plain.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert one("http://venue.invalid/a.json", tmp_path / "one").complete
    assert plain.seen == ["http://venue.invalid/a.json"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert one(f"http://127.0.0.1:{plain.server_port}/b.json", tmp_path / "two").complete
    assert plain.seen[1:] == ["/b.json"]
    journal = json.loads((tmp_path / "one" / "fetched.jsonl").read_text())
    assert journal["url"] == "http://venue.invalid/a.json"


def test_a_proxy_that_is_none_is_told_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks9://user:secret@127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(DataError, match="proxy that the environment names") as told:
        Network().request("GET", "http://venue.invalid/a.json")
    assert "secret" not in str(told.value)
