"""agentvault and nginx side by side: plain HTTP in, pooled verified TLS out, one header injected, 0.5 KiB answers.

Rounds are interleaved; printed are medians, and the medians of the ratios within each round. Both proxies verify the
upstream, both log each request to a file.
"""
import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from harness import KEY, Certificate, Session, Vault, wait_for  # noqa: E402

import socket  # noqa: E402

UPSTREAM = """
daemon off; worker_processes 1; pid {folder}/upstream.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/ca.pem; ssl_certificate_key {folder}/ca.key;
    location / {{ default_type text/plain; return 200 "{body}"; }}
  }}
}}
"""
PROXY = """
daemon off; worker_processes 1; pid {folder}/proxy.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log {folder}/access.log; keepalive_requests 100000000;
  upstream api {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location /api/ {{
      proxy_pass https://api/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host localhost;
      proxy_set_header Authorization "Bearer {key}"; proxy_ssl_verify on; proxy_ssl_trusted_certificate {folder}/ca.pem;
      proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_buffering off;
    }}
  }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def workers(pid):
    return [pid] + [int(p) for p in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()]


def load(url, connections, seconds, pids, token):
    before = cpu_seconds(pids)
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"Authorization: Bearer {token}", url],
                         capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(pids) - before
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit("the run had failures:\n" + out)
    count = int(re.search(r"(\d+) requests in", out).group(1))
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
    return {"rate": count / seconds, "p50": float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit], "cpu": used / count * 1e6}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=3)
    options = options.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="agentvault-bench-"))
    folder.chmod(0o755)
    processes = []
    try:
        certificate = Certificate(folder)
        upstream, proxy = free_port(), free_port()
        for name, text in (("upstream", UPSTREAM.format(folder=folder, port=upstream, body="x" * 512)),
                           ("proxy", PROXY.format(folder=folder, port=proxy, upstream=upstream, key=KEY))):
            (folder / f"{name}.conf").write_text(text)
            processes.append(subprocess.Popen(["nginx", "-p", folder, "-c", folder / f"{name}.conf"], stderr=subprocess.DEVNULL))
        for port in (upstream, proxy):
            wait_for(lambda: answers(port), "nginx")
        vault = Vault(folder)
        for result in (vault.init(), vault.add("api", "--url", f"https://localhost:{upstream}", "--ca-file", certificate.pem)):
            if result.code != 0:
                sys.exit(repr(result))
        session = Session(vault)
        contestants = {"nginx": (f"http://127.0.0.1:{proxy}/api/x", workers(processes[1].pid)),
                       "agentvault": (f"http://127.0.0.1:{session.port}/api/x", [session.process.pid])}
        print(f"{options.rounds} rounds of {options.seconds} s, interleaved; CPU is the proxy's own, in microseconds a request")
        print(f"{'connections':>11} {'':<12}{'requests/s':>11}{'p50 us':>9}{'CPU us':>8}")
        for connections in (1, 8, 64):
            results = {name: [] for name in contestants}
            for _ in range(options.rounds):
                for name, (url, pids) in contestants.items():
                    results[name].append(load(url, connections, options.seconds, pids, session.token))
            for name, rows in results.items():
                middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
                print(f"{connections:>11} {name:<12}{middle['rate']:>11.0f}{middle['p50']:>9.0f}{middle['cpu']:>8.1f}")
            ratio = {key: statistics.median(a[key] / b[key] for a, b in zip(results["agentvault"], results["nginx"])) for key in ("rate", "p50", "cpu")}
            print(f"{connections:>11} {'ratio':<12}{ratio['rate']:>10.2f}x{ratio['p50']:>8.2f}x{ratio['cpu']:>7.2f}x")
        session.stop()
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        shutil.rmtree(folder, True)


main()
