#!/usr/bin/env bash
# Does the project work on a machine that has nothing? A minimal Debian with Python, gcc and make, and no more.
#
#   sudo scripts/fresh_machine.sh [FOLDER]     about an hour; 20 GB under FOLDER, by default /var/tmp/fresh-machine
#
# What is committed (HEAD) is cloned into the root; an ordinary user with a clean environment does there what a
# newcomer does. Then again, in a new clone, without a compiler, and without a network after set-up. One line is
# printed for each step; exit code 1 where one falls short. Needs root, debootstrap, unshare and a network.
# SKIP, a regular expression, leaves steps out while you mend one: SKIP='second: make (test|lint)'
# The caller's pip index, proxy and certificates are used for set-up (PIP_INDEX_URL, PIP_CERT, http_proxy, ...).
set -euo pipefail
cd "$(dirname "$0")/.."

FOLDER=${1:-/var/tmp/fresh-machine}
ROOT=$FOLDER/root
LOGS=$FOLDER/logs
SUITE=bookworm
PACKAGES="python3.11 python3.11-venv make"
COMPILER="gcc libc6-dev"
HOME_INSIDE=/home/stranger
CERTIFICATES=$(readlink -f "${PIP_CERT:-${SSL_CERT_FILE:-/nothing}}") || true
failed=0
count=0
tour=set-up

[ "$(id -u)" = 0 ] || { echo "expected to run as root: debootstrap and chroot need it" >&2; exit 2; }
for tool in debootstrap unshare git; do
	command -v $tool >/dev/null || { echo "expected $tool, it is not installed" >&2; exit 2; }
done

# What the network of this machine asks for, by the names that apt and pip know.
network=()
for name in http_proxy https_proxy no_proxy PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT; do
	[ -n "${!name:-}" ] && network+=("$name=${!name}")
done
[ -f "$CERTIFICATES" ] && network+=(PIP_CERT=/etc/certificates.pem)

# inside [--offline] USER [NAME=VALUE ...] COMMAND: in the root, in namespaces that end with the command.
inside() {
	local namespaces=(--mount --pid --fork --kill-child --ipc) user words=() loopback=:
	if [ "$1" = --offline ]; then
		namespaces+=(--net)
		# A network of its own has a loopback device that is down; processes of one training talk over it.
		loopback='chroot "$0" python3.11 -c "
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sH14s\", b\"lo\", 0x41, b\"\"))"'
		shift
	fi
	user=$1
	shift
	while [[ $1 == *=* && $1 != *" "* ]]; do words+=("$1"); shift; done
	unshare "${namespaces[@]}" bash -e -c '
		mount -t proc proc "$0/proc"
		mount -t tmpfs tmpfs "$0/dev/shm"
		'"$loopback"'
		exec chroot --userspec="$1:" "$0" /usr/bin/env -i PATH=/usr/bin:/bin "${@:3}" bash -e -o pipefail -c "$2"
	' "$ROOT" "$user" "$1" "${words[@]}"
}

# step NAME inside-arguments ...: one line for what a command did; what it printed goes to a log.
step() {
	local name=$1 log started=$SECONDS state=ok
	shift
	if [[ -n "${SKIP:-}" && "$tour: $name" =~ $SKIP ]]; then echo "left out  $name"; return; fi
	count=$((count + 1))
	log=$LOGS/$(printf %02d $count)-$(tr -cs 'a-z0-9\n' - <<<"${name,,}").log
	inside "$@" >"$log" 2>&1 </dev/null || { state=FAILED; failed=$((failed + 1)); }
	# A command that ends well may still have printed what nobody should see.
	if [ $state = ok ] && grep -q '^Traceback' "$log"; then state="FAILED (a traceback)"; failed=$((failed + 1)); fi
	echo "$state  $name  $((SECONDS - started)) s  $(tail -n 1 "$log" | cut -c 1-100)"
	[ "$state" = ok ] || echo "    see $log"
}

new_clone() { # CLONE: what is committed, as the user's own files
	rm -rf "${ROOT:?}$HOME_INSIDE/$1"
	git clone -q --no-hardlinks . "$ROOT$HOME_INSIDE/$1"
	chroot "$ROOT" chown -R stranger:stranger "$HOME_INSIDE/$1"
}

# What a newcomer does, in a clone whose set-up is done or is done by the first command.
tour() { # [--offline] CLONE
	local how=() clone work
	[ "$1" = --offline ] && { how=(--offline); shift; }
	tour=$1
	clone=$HOME_INSIDE/$1
	work=$HOME_INSIDE/work-$1
	local stranger=("${how[@]}" stranger HOME=$HOME_INSIDE LANG=C.UTF-8)
	[ ${#how[@]} = 0 ] && stranger+=("${network[@]}")
	local here="cd $clone && PATH=$clone/.venv/bin:\$PATH && mkdir -p $work"

	step "make generate" "${stranger[@]}" "cd $clone && make generate PROMPT='a calm violin melody over soft piano chords' \
		&& test \$(stat -c %s out.wav) -ge 480000"
	step "make test" "${stranger[@]}" "cd $clone && make test"
	step "make lint" "${stranger[@]}" "cd $clone && make lint"
	step "musiclm corpus render" "${stranger[@]}" "$here && musiclm corpus render --hours 0.1 --out $work/corpus"
	step "musiclm tokenize" "${stranger[@]}" "$here && musiclm tokenize $work/corpus --out $work/tokens"
	step "musiclm fit (tokens)" "${stranger[@]}" "$here && musiclm fit --config configs/semantic.yaml \
		--config configs/tiny/semantic.yaml --data.init_args.tokens $work/tokens \
		--trainer.default_root_dir $work/semantic"
	step "musiclm fit (recordings, fairseq2)" "${stranger[@]}" "$here && musiclm fit --config configs/w2v_bert.yaml \
		--config configs/tiny/w2v_bert.yaml --data.init_args.audio $work/corpus --trainer.default_root_dir $work/w2v_bert"
	step "musiclm audit" "${stranger[@]}" "$here && musiclm audit --tokens $work/tokens --examples 9 \
		--prompt_tokens [0,25,50] --negatives 12 --false_positive_rate 0.5 --out $work/report"
	step "musiclm evaluate semantic" "${stranger[@]}" "$here && musiclm evaluate semantic $work/corpus --max_recordings 8"
	step "musiclm evaluate codec" "${stranger[@]}" "$here && musiclm evaluate codec --audio $work/corpus --out $work/codec"
	step "musiclm generate --continue" "${stranger[@]}" "$here && musiclm generate --continue out.wav --seconds 2 \
		--out $work/longer.wav"
	step "musiclm generate --melody" "${stranger[@]}" "$here && musiclm generate 'a piano' --melody out.wav --seconds 2 \
		--out $work/followed.wav"
	step "musiclm generate --out - | ..." "${stranger[@]}" "$here && musiclm generate 'a piano' --seconds 2 --out - \
		| wc -c | grep -qx 96044"
	step "Python, from any folder" "${stranger[@]}" "cd / && $clone/.venv/bin/python -c '
from musiclm import Audio, MusicLM
model = MusicLM.from_pretrained(\"default\")
clip = Audio.load(\"$clone/out.wav\")
print([audio.seconds for audio in model.variations(\"a waltz\", num=2, seconds=1, clip=clip)])'"
	step "another user, read-only, no HOME" "${how[@]}" nobody "cd /tmp && $clone/.venv/bin/musiclm generate 'a waltz' \
		--seconds 2 --out /tmp/\$\$.wav && $clone/.venv/bin/musiclm tokenize $clone/out.wav --out /tmp/tokens-\$\$"
}

mkdir -p "$FOLDER" "$LOGS"
rm -f "$LOGS"/*
if [ ! -e "$ROOT/.complete" ]; then
	rm -rf "$ROOT"
	debootstrap --variant=minbase $SUITE "$ROOT" >"$LOGS/00-debootstrap.log" 2>&1 \
		|| { echo "FAILED  debootstrap: see $LOGS/00-debootstrap.log"; exit 1; }
	chroot "$ROOT" useradd --create-home stranger
	chmod 755 "$ROOT$HOME_INSIDE"
	touch "$ROOT/.complete"
fi
cp -L /etc/resolv.conf "$ROOT/etc/resolv.conf"
[ -f "$CERTIFICATES" ] && cp "$CERTIFICATES" "$ROOT/etc/certificates.pem"
install="apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends"
step "Debian with $PACKAGES $COMPILER" root "${network[@]}" "$install $PACKAGES $COMPILER >/dev/null && echo installed"

echo "With a compiler:"
new_clone first
tour first

echo "Without a compiler, and without a network after set-up:"
step "the compiler is removed" root "apt-get purge -qy --autoremove $COMPILER cpp binutils >/dev/null && ! command -v cc gcc"
new_clone second
step "make setup" stranger HOME=$HOME_INSIDE LANG=C.UTF-8 "${network[@]}" "cd $HOME_INSIDE/second && make setup"
tour --offline second

[ $failed = 0 ] && echo "every step did what it should" || { echo "$failed steps fell short"; exit 1; }
