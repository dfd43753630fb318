"""A headless Chromium, driven over its DevTools protocol through a pair of pipes.

https://chromedevtools.github.io/devtools-protocol/: messages are JSON, each ended by a zero byte;
the browser reads them from descriptor 3 and writes them to 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
_PATIENCE = 30  # seconds for an answer
_KEYS = {"Tab": 9, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
# Python's own switch of descriptors in a child is not for programs with threads.
_AS_3_AND_4 = """
import fcntl, os, sys
high = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]
for place, one in zip((3, 4), high):
    os.dup2(one, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A browser with one page at a time; use it in ``with``."""

    def __init__(self, profile):
        reads, self._writer = os.pipe()
        self._reader, writes = os.pipe()
        command = [
            sys.executable, "-I", "-S", "-c", _AS_3_AND_4, str(reads), str(writes), CHROMIUM,
            "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
            "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
            f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, pass_fds=(reads, writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(reads)
        os.close(writes)
        self._number, self._received, self._session = 0, b"", None
        self.events = []

    def __enter__(self):
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        os.close(self._writer)  # which ends it
        os.close(self._reader)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __call__(self, method, **parameters):
        """Send a command and return its result; what happens meanwhile goes to ``events``."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        limit = time.monotonic() + _PATIENCE
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._reader], [], [], max(limit - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            piece = os.read(self._reader, 2**20)
            assert piece, "the browser has ended"
            self._received += piece
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def open(self, path, *, width=1100, height=900, dark=False, script=True):
        """Load a file and wait until it is there."""
        self("Emulation.setScriptExecutionDisabled", value=not script)
        self.resize(width, height)
        self.look(dark=dark)
        self.events.clear()
        self("Page.navigate", url=path.as_uri())
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            self.events.append(self._next())

    def resize(self, width, height):
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip

    def look(self, *, dark=False, media=""):
        """Ask for dark or light, and for "screen" or "print" whatever it is shown on."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def ask(self, expression):
        """Return the value of a JavaScript expression."""
        said = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def press(self, key):
        """Press and release a key."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        self("Input.dispatchKeyEvent", type="rawKeyDown", **about)
        self("Input.dispatchKeyEvent", type="keyUp", **about)

    def requests(self):
        """Return what the page asked for since it was opened, but for itself and its own data."""
        asked = [
            one["params"]["request"]["url"]
            for one in self.events
            if one.get("method") == "Network.requestWillBeSent"
        ]
        assert asked[0].startswith("file:"), "the page itself is not seen"
        return [url for url in asked[1:] if not url.startswith("data:")]

    def complaints(self):
        """Return what was logged since the page was opened: errors, warnings, dialogs."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled",
                 "Page.javascriptDialogOpening")  # fmt: skip
        return [one for one in self.events if one.get("method") in kinds]

    def screenshot(self, *, whole=True):
        """Return a picture of the page as PNG."""
        said = self("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(said["data"])

    def pdf(self):
        """Return the page as it is printed."""
        return base64.b64decode(self("Page.printToPDF", printBackground=False)["data"])
