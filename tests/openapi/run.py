"""Starts a real store with some destinations and runs schemathesis over every path of its description.

Ends with a line in the words of `cargo test`, which the runner counts.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import requests

# Seconds for the generated calls in all, and calls per path and method. The store answers in a millisecond or two.
BUDGET = 90
EXAMPLES = 40

# The same calls in every run: what fails on one machine fails on the next. Another one: `run.py --seed 2`.
SEED = 1

# A busy machine is slow to start a process.
PATIENCE = 120

# What every answer must be.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
]

# A feed has no end, so a tool that reads answers whole would wait for it until its token expires.
WITHOUT_END = "/landbridge/v1/events"

DESTINATIONS = [
    {"Name": "none", "Type": "HTTP", "URL": "https://a.example.com", "ProxyType": "Internet",
     "Authentication": "NoAuthentication"},
    {"Name": "basic", "Type": "HTTP", "URL": "https://b.example.com", "ProxyType": "Internet",
     "Authentication": "BasicAuthentication", "User": "u", "Password": "p"},
    {"Name": "mail", "Type": "MAIL", "mail.transport.protocol": "smtp"},
]


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("LANDBRIDGE_")}


def start(binary, folder):
    ready = folder / "ready.json"
    log = open(folder / "store.log", "w")
    process = subprocess.Popen(
        [binary, "store", "serve", "--data-dir", folder / "data", "--listen", "127.0.0.1:0", "--admin-listen",
         "127.0.0.1:0", "--ready-file", ready],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=environment())
    end = time.monotonic() + PATIENCE
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError("the store is not ready:\n" + (folder / "store.log").read_text())
        time.sleep(0.05)
    return process, json.loads(ready.read_text())["store"]


def service_key(binary, folder, url):
    made = subprocess.run(
        [binary, "store", "create-key", "--data-dir", folder / "data", "--subaccount", "provider", "--url", url],
        check=True, capture_output=True, text=True, env=environment())
    return json.loads(made.stdout)


def bearer(url, key):
    answer = requests.post(f"{url}/oauth/token", data={"grant_type": "client_credentials"},
                           auth=(key["clientid"], key["clientsecret"]), timeout=PATIENCE)
    answer.raise_for_status()
    return answer.json()["access_token"]


def main():
    binary = os.environ.get("LANDBRIDGE_BIN")
    if not binary:
        sys.exit("LANDBRIDGE_BIN names no landbridge binary: run `cargo xtask test --only openapi`")
    with tempfile.TemporaryDirectory(prefix="landbridge-openapi-") as name:
        folder = pathlib.Path(name)
        process, url = start(binary, folder)
        try:
            token = bearer(url, service_key(binary, folder, url))
            headers = {"Authorization": f"Bearer {token}"}
            answer = requests.post(f"{url}/destination-configuration/v1/subaccountDestinations", json=DESTINATIONS,
                                   headers=headers, timeout=PATIENCE)
            answer.raise_for_status()
            ended = subprocess.run(
                [pathlib.Path(sys.executable).parent / "st", "run", f"{url}/landbridge/v1/openapi.json",
                 "--header", f"Authorization: Bearer {token}", "--checks", ",".join(CHECKS),
                 "--exclude-path", WITHOUT_END, "--max-examples", str(EXAMPLES), "--max-time", str(BUDGET),
                 "--seed", str(SEED), "--request-timeout", "30", "--phases", "examples,coverage,fuzzing", "--continue-on-failure",
                 "--no-color", "--warnings", "off", *sys.argv[1:]],
                cwd=folder, env=environment())
            alive = requests.get(f"{url}/landbridge/v1/openapi.json", timeout=PATIENCE)
            alive.raise_for_status()
            operations = sum(
                1 for name, path in alive.json()["paths"].items() if name != WITHOUT_END for method in path
                if method in ("get", "post", "put", "patch", "delete"))
        finally:
            process.terminate()
            process.wait(PATIENCE)
        if ended.returncode == 0:
            print(f"{operations} methods answer as described")
            print("test result: ok. 1 passed; 0 failed; 0 ignored")
        else:
            print("test result: FAILED. 0 passed; 1 failed; 0 ignored")
        sys.exit(ended.returncode)


main()
