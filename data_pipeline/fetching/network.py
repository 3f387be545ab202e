"""Requests over the network: certificates that are verified, the proxies that the environment names, no redirects."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from data_pipeline.errors import DataError


class Network:
    """Answers requests as urllib3's pools do, through a proxy where the environment names one for that host."""

    def __init__(self, ca_file: str = "") -> None:
        """Read the certificates that are trusted: those of certifi, and those of `ca_file`.

        Raises
        ------
        DataError
            When `ca_file` holds no certificate.
        """
        import ssl

        import certifi

        self._context = ssl.create_default_context(cafile=certifi.where())
        if ca_file:
            try:
                self._context.load_verify_locations(cafile=ca_file)
            except (OSError, ssl.SSLError) as error:
                raise DataError(f"--ca-file {ca_file} holds no usable certificate ({error})") from error
            # an intermediate certificate is enough; the default from Python 3.13 on
            self._context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        self._pools: dict[str, Any] = {}

    def request(self, method: str, url: str, **options: Any) -> Any:
        """The server's answer, not read yet; see urllib3.PoolManager.request."""
        return self._pool(_proxy_of(url)).request(method, url, **options)

    def _pool(self, proxy: str) -> Any:
        import urllib3

        if proxy not in self._pools:
            self._pools[proxy] = (
                _proxy_pool(proxy, self._context) if proxy else urllib3.PoolManager(ssl_context=self._context)
            )
        return self._pools[proxy]


def _proxy_of(url: str) -> str:
    """The proxy that the environment names for an address; "" for none."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(parts.hostname or ""):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _proxy_pool(proxy: str, context: Any) -> Any:
    import urllib3

    try:
        parts = urllib3.util.parse_url(proxy)
        headers = urllib3.make_headers(proxy_basic_auth=parts.auth) if parts.auth else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=context)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        shown = proxy.rpartition("@")[2]
        raise DataError(f"the proxy that the environment names cannot be used ({shown}): {type(error).__name__}") from (
            None if "@" in proxy else error
        )
