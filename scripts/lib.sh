# Sourced by the scripts: makes sure of Rust, a C compiler, PostgreSQL's server programs, PgBouncer and promtool.
# shellcheck shell=sh

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() {
    say "$@"
    exit 1
}

need_rust() {
    command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-${HOME-}/.cargo}/bin"
    command -v cargo >/dev/null || die "Rust is missing. Type this, then run the script again:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    needed=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' "$root/Cargo.toml")
    found=$(cargo --version) || exit 1
    minor=${found#cargo 1.}
    [ "${minor%%.*}" -ge "$needed" ] || die "Rust 1.$needed or newer is needed, and this is $found. Type:
  rustup update stable"
}

# libpq is built from source.
need_c_compiler() {
    compiler=${CC:-cc}
    echo '#include <stdlib.h>' | ${compiler} -x c -fsyntax-only - 2>/dev/null || die "A C compiler with its headers is missing. Type this, then run the script again:
  Debian, Ubuntu:  apt-get install gcc libc6-dev
  Fedora:          dnf install gcc
  Alpine:          apk add gcc musl-dev
  macOS:           xcode-select --install"
}

find_server() {
    cargo run --quiet --manifest-path "$root/Cargo.toml" -p refresh-tokens-support --bin with-postgres -- --find >/dev/null
}

# Never asks for a password: who would have to be asked is told what to type.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# Whether there is such a package manager, and the right to use it.
has() {
    { command -v "$1" && as_root true; } >/dev/null 2>&1
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 "$@"
}

# The lists of packages may be missing, or so old that the file is gone from the mirror.
apt_install() {
    apt-cache show "$1" >/dev/null 2>&1 || apt_get update
    apt_get install -y --no-install-recommends "$1" ||
        { apt_get update && apt_get install -y --no-install-recommends "$1"; }
}

# Debian starts a service with its package; nobody has asked for it.
apt_install_without_service() {
    apt_install "$1" || return
    as_root systemctl --quiet disable --now "$1" >/dev/null 2>&1 || true
}

# Debian makes and starts a cluster with the package, unless it is told not to.
install_on_debian() {
    folder=/etc/postgresql-common/createcluster.d
    as_root mkdir -p "$folder"
    echo 'create_main_cluster = false' | as_root tee "$folder/refresh-tokens.conf" >/dev/null
    apt_install postgresql
    as_root rm -f "$folder/refresh-tokens.conf"
}

install_server() {
    if has apt-get; then
        install_on_debian
    elif has dnf; then
        as_root dnf install -y postgresql-server
    elif has apk; then
        as_root apk add postgresql
    elif command -v brew >/dev/null; then
        brew install postgresql@17
    else
        say "There is no package manager that this script knows, or not the right to use it without a password."
    fi
}

# Everything that the examples and tests need. With DATABASE_URL, there is a server already.
prepare() {
    need_rust
    need_c_compiler
    [ -n "${DATABASE_URL-}" ] || unset DATABASE_URL
    cargo build --manifest-path "$root/Cargo.toml" -p refresh-tokens-support --bin with-postgres
    if [ -n "${DATABASE_URL-}" ] || find_server 2>/dev/null; then
        return
    fi
    if [ -z "${REFRESH_TOKENS_PG_BIN-}" ]; then
        say "PostgreSQL's server programs are missing; installing them."
        install_server >&2 </dev/null || say "That did not work."
    fi
    find_server || exit 1
}

install_pgbouncer() {
    if has apt-get; then
        apt_install_without_service pgbouncer
    elif has dnf; then
        as_root dnf install -y pgbouncer
    elif has apk; then
        as_root apk add pgbouncer
    elif command -v brew >/dev/null; then
        brew install pgbouncer
    fi
}

find_pgbouncer() {
    (PATH="$PATH:/usr/sbin:/usr/local/sbin" && command -v pgbouncer) >/dev/null
}

# Some tests go through it.
need_pgbouncer() {
    if ! find_pgbouncer; then
        say "PgBouncer is missing; installing it."
        install_pgbouncer >&2 </dev/null || say "That did not work."
    fi
    find_pgbouncer || die "PgBouncer is missing. Type this, then run the script again:
  Debian, Ubuntu:  apt-get install pgbouncer
  Fedora:          dnf install pgbouncer
  Alpine:          apk add pgbouncer
  macOS:           brew install pgbouncer"
}

# A server, PgBouncer, what the tests run by, and the day's seed for what they sample, which every process of this run has.
prepare_for_tests() {
    prepare
    need_pgbouncer
    cargo build --quiet --manifest-path "$root/Cargo.toml" -p refresh-tokens-support --bins
    tools=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/debug
    REFRESH_TOKENS_SEED=${REFRESH_TOKENS_SEED:-$(($(date +%s) / 86400))}
    export REFRESH_TOKENS_SEED
    cd "$root" || exit 1
}

# Runs a command, or a tool of the tests, beside a server; if it fails, says how it is repeated.
pass() {
    program=$1
    [ ! -x "$tools/$1" ] || program=$tools/$1
    shift
    "$tools/with-postgres" "$program" "$@" ||
        die "What was sampled is the same again with REFRESH_TOKENS_EFFORT=${REFRESH_TOKENS_EFFORT:-test} REFRESH_TOKENS_SEED=$REFRESH_TOKENS_SEED"
}

install_promtool() {
    if has apt-get; then
        apt_install_without_service prometheus
    elif has dnf; then
        as_root dnf install -y /usr/bin/promtool
    elif has apk; then
        as_root apk add prometheus
    elif command -v brew >/dev/null; then
        brew install prometheus
    fi
}

# It comes with Prometheus, which is not run.
need_promtool() {
    if ! command -v promtool >/dev/null; then
        say "promtool is missing; installing it."
        install_promtool >&2 </dev/null || say "That did not work."
    fi
    command -v promtool >/dev/null || die "promtool is missing. Type this, then run the script again:
  Debian, Ubuntu:  apt-get install --no-install-recommends prometheus
  Fedora:          dnf install /usr/bin/promtool
  Alpine:          apk add prometheus
  macOS:           brew install prometheus"
}
