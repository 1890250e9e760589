"""The main job, for real and in a few seconds: `./dev demo` runs this."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))
from harness import KEY, PROGRAM, Certificate, Upstream, Vault  # noqa: E402


def say(text):
    print(text, flush=True)


def step(text, command):
    say(f"\n# {text}\n$ {command}")


def run(vault, *words, **options):
    environment = {**vault.environment, **options.pop("env", {})}
    return subprocess.run(vault.argv(*words), env=environment, text=True, check=options.pop("check", True), **options)


def answer(handler, body):
    say(f"upstream: {handler.command} {handler.path}, Authorization: {handler.headers['Authorization']}")
    handler.answer(200, json.dumps({"answer": "hello from the stand-in"}).encode())


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="agentvault-demo-"))
    upstream = Upstream(Certificate(folder))
    try:
        upstream.routes["/v1/chat/completions"] = answer
        vault = Vault(folder)
        agent = [sys.executable, str(HERE / "agent.py")]
        say(f"The key is {KEY!r}. The upstream is a local HTTPS stand-in that tells which key it saw.")

        step("A vault, its master key sealed to a TPM (here the embedded software one).", "agentvault init --tpm embedded")
        run(vault, "init", "--tpm", "embedded")
        step("The key goes in once, on standard input.", f"agentvault add openai --stdin --url {upstream.url}/v1 --ca-file ca.pem")
        run(vault, "add", "openai", "--stdin", "--url", f"{upstream.url}/v1", "--ca-file", folder / "ca.pem", input=KEY)
        step("The agent gets a token, the upstream gets the key.", "agentvault exec -- python3 agent.py")
        run(vault, "exec", "--", *agent)
        seen = [dict(request["headers"])["Authorization"] for request in upstream.requests]
        assert seen == [f"Bearer {KEY}"], seen

        step("A session's token is worth nothing outside it: taken out of one session, tried in the next.",
             'TOKEN=$(agentvault exec -- sh -c \'echo "$OPENAI_API_KEY"\'); agentvault exec -- env OPENAI_API_KEY=$TOKEN python3 agent.py')
        stolen = run(vault, "exec", "-q", "--", "sh", "-c", 'echo "$OPENAI_API_KEY"', capture_output=True).stdout.strip()
        refused = run(vault, "exec", "-q", "--", "env", f"OPENAI_API_KEY={stolen}", *agent, stdout=subprocess.PIPE).stdout
        say(refused.rstrip())
        assert "401" in refused and len(upstream.requests) == 1

        step("Removing the key moves the TPM's counter on: a copy of the vault from before opens no more.",
             "cp vault.db old.db; agentvault remove openai; cp old.db vault.db; agentvault exec -- python3 agent.py")
        database = vault.path / "vault.db"
        shutil.copy(database, folder / "old.db")
        run(vault, "remove", "openai")
        shutil.copy(folder / "old.db", database)
        revived = run(vault, "exec", "--", *agent, check=False)
        assert revived.returncode == 6 and len(upstream.requests) == 1
        say("\nDone: the agent never held the key, and what was removed stays removed.")
    finally:
        upstream.stop()
        shutil.rmtree(folder, True)


if __name__ == "__main__":
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"{PROGRAM} is not built: run ./dev demo")
    main()
