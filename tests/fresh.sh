#!/usr/bin/env bash
# Proves that two commands do everything on a fresh machine: a throw-away debootstrap tree, a clone of HEAD in it, and
# there `./dev demo` and `./dev test`. Needs root. usage: fresh.sh bookworm|trixie|noble [--keyring FILE] [--demo-only]
set -euo pipefail
cd "$(dirname "$0")/.."

distribution=$1; shift
keyring= demo_only=
while [ $# -gt 0 ]; do
  case $1 in
    --keyring) keyring=$2; shift 2 ;;
    --demo-only) demo_only=yes; shift ;;
    *) echo "fresh: unknown option $1" >&2; exit 2 ;;
  esac
done

not_run() { echo "fresh $distribution: not run: $*"; exit 0; }

# The mirror that this machine itself uses for Debian.
debian_mirror() {
  sed -nE 's/^(URIs: |deb (\[[^]]*\] )?)(https?:[^ ]*\/debian)\/?( .*)?$/\3/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1 || true
}

case $distribution in
  bookworm|trixie)
    : "${keyring:=/usr/share/keyrings/debian-archive-keyring.gpg}"
    mirror=$(debian_mirror)
    components=main
    ;;
  noble)
    # Never unsigned: without Ubuntu's own keyring there is nothing to check its archive with.
    [ -n "$keyring" ] || not_run "no keyring; give one with --keyring FILE (package ubuntu-keyring)"
    mirror=${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}
    components=main,universe
    ;;
  *) echo "fresh: bookworm, trixie or noble" >&2; exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || not_run "debootstrap needs root"
[ -r "$keyring" ] || not_run "no keyring at $keyring"
[ -n "$mirror" ] || not_run "this machine names no mirror"
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
[ -e "/usr/share/debootstrap/scripts/$distribution" ] || not_run "this debootstrap does not know $distribution"

tree=$(mktemp -d /var/tmp/agentvault-fresh-XXXXXX)
cleanup() {
  for point in dev/pts dev proc; do umount -l "$tree/$point" 2>/dev/null || true; done
  rm -rf --one-file-system "$tree"
}
trap cleanup EXIT

chmod 755 "$tree"  # other users than root live in there, too
echo "fresh $distribution: making the tree"
debootstrap --variant=minbase --keyring="$keyring" --components="$components" "$distribution" "$tree" "$mirror" >"$tree.log" 2>&1 ||
  { tail -n 20 "$tree.log"; rm -f "$tree.log"; exit 1; }
rm -f "$tree.log"
cp /etc/resolv.conf "$tree/etc/resolv.conf"
mount -t proc proc "$tree/proc"
mount --bind /dev "$tree/dev"
mount --bind /dev/pts "$tree/dev/pts"
mkdir -p "$tree/src"
git archive --prefix=agentvault/ HEAD | tar -x -C "$tree/src"
[ -d ../shared/vectors ] && cp -r ../shared "$tree/src/shared"

inside() { chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb bash -c "cd /src/agentvault && $1"; }
inside "apt-get update -qq && apt-get install -y -qq --no-install-recommends git >/dev/null 2>&1 && git init -q . && git add -A"
echo "fresh $distribution: ./dev demo"
inside "./dev demo"

# A vault outlives the version of tpm2-tss that made it: one from this machine opens, changes and restores there.
if [ -x build/release/agentvault ]; then
  made=$(mktemp -d)
  (
    umask 077
    cd "$made"
    vault() { "$OLDPWD/build/release/agentvault" --vault "$made/vault" "$@" </dev/null; }
    echo correct horse battery staple >passphrase
    vault init --tpm embedded --new-passphrase-file passphrase
    echo sk-stand-in-0123456789 | "$OLDPWD/build/release/agentvault" --vault "$made/vault" add openai --stdin
    vault rotate
    vault backup vault.backup
  )
  mkdir "$tree/src/old" && mv "$made"/* "$tree/src/old/" && rmdir "$made"
  echo "fresh $distribution: a vault made with tpm2-tss $(pkg-config --modversion tss2-esys) under $(inside 'pkg-config --modversion tss2-esys')"
  inside 'old=/src/old; run() { build/release/agentvault --vault "$@" </dev/null; }
    run $old/vault exec -q -- sh -c "test \"\${OPENAI_API_KEY#agv_}\" != \"\$OPENAI_API_KEY\"" && run $old/vault rotate &&
    run $old/vault remove openai &&
    run $old/other restore $old/vault.backup --tpm embedded --passphrase-file $old/passphrase && run $old/other exec -q -- true'
fi
[ -n "$demo_only" ] || { echo "fresh $distribution: ./dev test"; inside "./dev test"; }
echo "fresh $distribution: passed"
