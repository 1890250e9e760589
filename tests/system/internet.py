"""A small internet of its own for a test: a network namespace in which public addresses and names lead to stand-ins.

The script runs itself again inside new network and mount namespaces (as root, or as an ordinary user through a user
namespace). There 11.0.0.0/16 is local to the loopback device, which no interface shows, and the hosts file names it.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

INSIDE = "AGENTVAULT_TEST_INTERNET"
HOSTS = {"api.vendor.example": "11.0.0.1", "plain.site.example": "11.0.0.2", "forge.example": "11.0.0.3",
         "rebound.example": "127.0.0.1", "metadata.example": "169.254.169.254", "proxy.corp.example": "11.0.0.9",
         "api.github.com": "11.0.0.4", "api.anthropic.com": "11.0.0.5", "platform.claude.com": "11.0.0.6",
         "api.openai.com": "11.0.0.7"}


def enter():
    """Call first. Returns inside; exits with the script's status outside."""
    if os.environ.get(INSIDE):
        return
    missing = [tool for tool in ("unshare", "ip", "mount") if not shutil.which(tool)]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    probe = not missing and subprocess.run(["unshare", *user, "--net", "--mount", "true"], capture_output=True)
    if missing or probe.returncode != 0:
        print(f"SKIPPED: {sys.argv[0]} needs network namespaces:", ", ".join(missing) or probe.stderr.decode(), file=sys.stderr)
        sys.exit(0)
    with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
        hosts.write("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in HOSTS.items()))
        hosts.flush()
        os.chmod(hosts.name, 0o644)
        script = (f'ip link set lo up && ip route add local 11.0.0.0/16 dev lo && mount --bind {hosts.name} /etc/hosts '
                  '&& exec "$@"')
        done = subprocess.run(["unshare", *user, "--net", "--mount", "sh", "-c", script, "sh", sys.executable, "-W", "ignore", *sys.argv],
                              env={**os.environ, INSIDE: "1"})
    sys.exit(done.returncode)


def address_of(name):
    return HOSTS[name]
