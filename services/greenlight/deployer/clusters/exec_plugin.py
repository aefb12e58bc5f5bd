"""Credential plugins of kubeconfigs: programs that print a token or a client certificate, as GKE, AKS and OIDC users have.

The protocol is https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins. The
package `kubernetes` runs such a program with the whole environment, without a time limit, for every client anew, and writes
its failure to the log; so it is run here (docs/decisions/0018-kubernetes-does-the-transport.md).
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.printable import printable
from greenlight.lib.process import end_group, wait_for_exit
from greenlight.lib.scrub import Scrubber, secrets_in, secrets_of_arguments

INHERITED = ("PATH", "HOME", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What of this process's environment a plugin gets, and Helm as well, so that a plugin works for both or for neither."""

TIMEOUT = 15.0
"""Seconds in which a plugin has to end."""

SLACK = timedelta(seconds=30)
"""How long before their end credentials are renewed: a request that carries them takes a while to arrive."""

MAX_BYTES = 1 << 20
"""Of a plugin's output."""

REASON = 1000
"""Characters of a plugin's standard error that an error shows; the end is where the reason is."""

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_CLUSTER = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Hold what a plugin printed."""

    token: str | None = field(repr=False)
    certificate: tuple[bytes, bytes] | None = field(repr=False)  # with its key, PEM
    until: datetime | None  # None: until the API server refuses them


class ExecPlugin:
    """Run the `exec` program of a kubeconfig's user, and keep its credentials until they end. Safe for many threads."""

    def __init__(
        self, section: Mapping[str, Any], cluster: Mapping[str, Any], folder: Path, env: Mapping[str, str], clock: Clock
    ) -> None:
        """Check the user's `exec`; run nothing yet. `cluster` is the cluster's section, `folder` the kubeconfig's.

        Raises ConfigurationError for what no program can be run for, KeyError and TypeError for a section that is malformed.
        """
        self._command = str(section["command"])
        self._arguments = [str(argument) for argument in section.get("args") or ()]
        self._version = str(section["apiVersion"])
        if self._version not in _VERSIONS:
            raise ConfigurationError(f"exec: the apiVersion {self._version!r} is none of {', '.join(_VERSIONS)}")
        if section.get("interactiveMode") == "Always":
            raise ConfigurationError(f"{self} needs a terminal (interactiveMode: Always), and Greenlight has none")
        own = {str(variable["name"]): str(variable["value"]) for variable in section.get("env") or ()}
        self._env = {**{name: env[name] for name in INHERITED if name in env}, **own}
        self._folder, self._clock = folder, clock
        self._env["KUBERNETES_EXEC_INFO"] = self._information(section, cluster)
        self._hint = str(section.get("installHint") or "").strip()
        hidden = [secret for name, value in own.items() for secret in secrets_in(value, name)]
        self._scrub = Scrubber([*hidden, *secrets_of_arguments(self._arguments)])
        self._lock = threading.Lock()
        self._kept: Credentials | None = None
        self._runs = 0
        self._failure: Exception | None = None

    def credentials(self) -> Credentials:
        """Return credentials that are good for SLACK at the least, where the plugin gives such ones.

        Raises ConfigurationError where a person has to act, Unavailable where another run may succeed. One thread runs the
        plugin; the others wait for its result, and get its failure, too.
        """
        runs = self._runs
        with self._lock:
            if self._kept is not None and not self._ends(self._kept, SLACK):
                return self._kept
            if self._runs != runs and self._failure is not None:
                raise type(self._failure)(*self._failure.args)
            self._kept = self._failure = None
            try:
                self._kept = self._run()
            except (ConfigurationError, Unavailable) as problem:
                self._failure = problem
                raise
            finally:
                self._runs += 1  # at the end: callers that came while it ran have its result
            return self._kept

    def forget(self) -> None:
        """Run the plugin at the next call: the API server has refused what it gave."""
        with self._lock:
            self._kept = None

    def _ends(self, found: Credentials, within: timedelta) -> bool:
        return found.until is not None and found.until <= self._clock.now() + within

    def _run(self) -> Credentials:
        program = self._program()
        try:
            process = subprocess.Popen(  # noqa: S603 - an argument list from the operator's kubeconfig, without a shell
                [program, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env=self._env,
                start_new_session=True,
            )
        except OSError as problem:
            raise ConfigurationError(f"{self} cannot be started: {problem.strerror}") from problem
        try:
            output, errors, done = self._collected(process)
        finally:
            end_group(process.pid, 0.0)  # nothing of it is left behind, however it ended
            code = process.wait()
        if not done:
            raise Unavailable(f"{self} did not end within {TIMEOUT:.0f} s, or printed too much{self._words(errors)}")
        if code != 0:
            raise Unavailable(f"{self} failed with exit status {code}{self._words(errors)}")
        return self._parsed(output)

    def _program(self) -> str:
        """Return the program's path: by a path from the kubeconfig's folder, or looked up on the PATH of this process."""
        if os.sep in self._command:
            return str(self._folder / self._command)
        found = shutil.which(self._command, path=self._env.get("PATH"))
        if found is None:
            hint = f". {self._hint}" if self._hint else ""
            raise ConfigurationError(f"{self} is not on the PATH of this Greenlight: install it there{hint}")
        return found

    def _collected(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes, bool]:
        """Return standard output, standard error, and whether both have ended within TIMEOUT and MAX_BYTES."""
        end = self._clock.monotonic() + TIMEOUT
        pipes = (process.stdout, process.stderr)
        parts: dict[IO[bytes], list[bytes]] = {pipe: [] for pipe in pipes if pipe is not None}
        with selectors.DefaultSelector() as selector:
            for pipe in parts:
                selector.register(pipe, selectors.EVENT_READ)
            size, done = 0, True
            while selector.get_map() and done:
                for key, _ in selector.select(max(end - self._clock.monotonic(), 0.0)):
                    chunk = os.read(key.fd, 65536)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    parts[key.fileobj].append(chunk)  # type: ignore[index]
                    size += len(chunk)
                done = size <= MAX_BYTES and self._clock.monotonic() < end
        done = done and wait_for_exit(process.pid, end - self._clock.monotonic())
        output, errors = (b"".join(parts[pipe]) for pipe in parts)
        for pipe in parts:
            pipe.close()
        return output, errors, done

    def _parsed(self, output: bytes) -> Credentials:
        """Return the ExecCredential that was printed. It is never quoted in an error, since it is a secret."""
        try:
            printed = json.loads(output)
            status: Mapping[str, Any] = printed["status"]
            if (printed["kind"], printed["apiVersion"]) != ("ExecCredential", self._version):
                raise ValueError("another kind or version")
            end = status.get("expirationTimestamp")
            until = None if end is None else datetime.fromisoformat(end)
            certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
            pair = (str(certificate).encode(), str(key).encode()) if certificate and key else None
            found = Credentials(status.get("token"), pair, until)
            if not (found.token or found.certificate) or not isinstance(found.token, str | None):
                raise ValueError("neither token nor certificate")
            ended = self._ends(found, timedelta())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigurationError(
                f"{self} printed no ExecCredential of {self._version} with a token or a certificate"
            ) from None
        if ended:
            raise Unavailable(f"{self} gave credentials that had ended at {end}; check this machine's clock")
        return found

    def _words(self, errors: bytes) -> str:
        text = self._scrub(errors.decode("utf-8", "replace")).strip()
        return f": {printable(' '.join(text.split()))[-REASON:]}" if text else ""

    def _information(self, section: Mapping[str, Any], cluster: Mapping[str, Any]) -> str:
        specification: dict[str, Any] = {"interactive": False}
        if section.get("provideClusterInfo"):
            known = {name: cluster[name] for name in _CLUSTER if name in cluster}
            if "certificate-authority" in cluster:
                authority = (self._folder / cluster["certificate-authority"]).read_bytes()
                known.setdefault("certificate-authority-data", base64.b64encode(authority).decode())
            for extension in cluster.get("extensions") or ():
                if extension["name"] == "client.authentication.k8s.io/exec":
                    known["config"] = extension["extension"]
            specification["cluster"] = known
        return json.dumps({"apiVersion": self._version, "kind": "ExecCredential", "spec": specification})

    def __str__(self) -> str:
        return f"the credential plugin {Path(self._command).name!r}"
