# What cloud-init makes of user data, by its own parser and its own handler of scripts. Argument: the folder with the package
# cloudinit; nothing for Python's own. Standard input: user data as base64, one a line. Standard output: JSON, the parts of each.
import base64
import json
import os
import sys
import tempfile

if sys.argv[1]:
    sys.path.append(sys.argv[1])

from cloudinit import handlers, helpers
from cloudinit.handlers.shell_script import ShellScriptPartHandler
from cloudinit.user_data import UserDataProcessor


def parts_of(blob):
    with tempfile.TemporaryDirectory() as folder:
        paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
        scripts = ShellScriptPartHandler(paths)
        found = []
        handlers.walk(UserDataProcessor(paths).process(blob), take, (scripts, found))
        return found


def take(data, filename, payload, headers):
    scripts, found = data
    part = {"type": headers["Content-Type"], "script": None}
    if isinstance(payload, str) and payload.startswith(tuple(scripts.prefixes)):
        scripts.handle_part(None, part["type"], filename, payload, None)
        with open(os.path.join(scripts.script_dir, filename), "rb") as script:
            part["script"] = base64.b64encode(script.read()).decode()
    found.append(part)


print(json.dumps([parts_of(base64.b64decode(line)) for line in sys.stdin]))
