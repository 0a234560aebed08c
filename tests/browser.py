"""A real headless Chromium for tests of pages, driven through its DevTools protocol over a pipe."""

import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

# for the explorer's page: when its pictures are there and nothing moves
AT_REST = """new Promise((done, fail) => {
  const end = Date.now() + 120000, late = () => Date.now() > end && (fail(Error("no rest in 120 s")), true);
  const look = () => sheet && !journey && !due ? done(1) : late() || setTimeout(look, 5);
  look();
})"""
NAMES = ("chromium", "google-chrome", "chromium-browser", "chromium-headless-shell")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
ALONE = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
# Chromium reads from file descriptor 3 and writes to 4
START = "import os, sys; ends = [os.dup(int(end)) for end in sys.argv[1:3]]; os.dup2(ends[0], 3); os.dup2(ends[1], 4); "
START += "os.set_inheritable(3, True); os.set_inheritable(4, True); "  # dup2 onto itself leaves it as it was
START += "os.execv(sys.argv[3], sys.argv[3:])"


class Browser:
    """One page in a browser of its own; `with` closes it."""

    def __init__(self, profile: Path):
        reads, self.sends = os.pipe()
        self.gets, writes = os.pipe()
        command = [CHROMIUM, *ALONE, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        command = [sys.executable, "-c", START, str(reads), str(writes), *command]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, pass_fds=(reads, writes), **quiet)
        os.close(reads), os.close(writes)
        self.answers, self.events, self.count = os.fdopen(self.gets, "rb"), [], 0
        self.unread = [b""]
        self.session = None
        page = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for part in ("Page", "Runtime", "Network"):
            self.call(f"{part}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=60)
        os.close(self.sends), self.answers.close()

    def _read(self):
        while b"\0" not in self.unread[-1]:
            assert select.select([self.answers], [], [], 300)[0], "the browser has said nothing for 300 s"
            self.unread.append(self.answers.read1())
            assert self.unread[-1], "the browser has gone"
        text, _, rest = b"".join(self.unread).partition(b"\0")
        self.unread = [rest]
        return json.loads(text)

    def call(self, method: str, **parameters) -> dict:
        """A call of the protocol; its result."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.sends, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script: str):
        """The value of a JavaScript expression, awaited."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def open(self, address: str, width: int, height: int, telephone=False, dark=False, ratio=1):
        """Show a page, in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": telephone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=telephone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")  # or a change behind # would not load the page again
        self.call("Page.navigate", url=address)
        self.run(
            "document.readyState == 'complete' || new Promise(done => addEventListener('load', done)).then(() => 1)"
        )

    def mouse(self, kind: str, x: float, y: float, **more):
        """An event of the mouse: mousePressed, mouseMoved, mouseReleased or mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float):
        """A click of the left button."""
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def key(self, name: str):
        """A key pressed and let go; of a letter or digit, its text is typed, too."""
        text = {"text": name} if len(name) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name)
