# The server's keeper. It makes the scratch folder itself, so that there is no moment at which it could be left
# behind. Data that is kept may have a server that is just stopping, when its parent was killed a moment ago. A signal
# that comes before `postgres` listens is lost, so it is sent until it has worked. A line on its input kills all of
# the server's processes, wherever each of them is, and, unless it is `kill`, starts it again. `postgres` is stopped
# first, so that it forks none meanwhile; if one were left, the new server would not start before that one has
# noticed. A standby begins as a copy of the primary's data, as they were before its first start.
# shellcheck shell=sh
programs=$1 scratch=$2 data=$3 sync=$4 commit=$5 stop=$6 faults=$7
shift 7
umask 077
trap '' INT TERM HUP PIPE
mkdir "$scratch" || exit 1
fail() { cat "$scratch/log" >&2; rm -rf "$scratch"; exit 1; }
if [ -n "${PRIMARY-}" ]; then
    cp -R "$PRIMARY/first" "$data" || fail
    touch "$data/standby.signal"
    echo "primary_conninfo = 'host=$PRIMARY port=5432 user=postgres'" >>"$data/postgresql.auto.conf"
elif [ ! -e "$data/PG_VERSION" ]; then
    no_sync=
    [ "$sync" = on ] || no_sync=--no-sync
    "$programs/initdb" -D "$data" --username=postgres --auth=trust --encoding=UTF8 --locale=C $no_sync \
        >"$scratch/log" 2>&1 </dev/null || fail
fi
if [ -n "$faults" ]; then
    printf %s "$faults" >"$scratch/faults.c"
    head -c 16 /dev/zero >"$scratch/faults"
    cc=${CC:-cc}
    $cc -shared -fPIC -O2 -o "$scratch/faults.so" "$scratch/faults.c" -ldl >"$scratch/log" 2>&1 || fail
    export LD_PRELOAD="$scratch/faults.so" REFRESH_TOKENS_FAULTS="$scratch/faults"
fi
[ -z "${HAS_STANDBY-}" ] || cp -R "$data" "$scratch/first" || fail
for _ in 1 2 3 4 5 6 7 8 9 10; do
    pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || break
    kill -0 "$pid" 2>/dev/null || break
    sleep 1
done
start() {
    "$programs/postgres" -D "$data" -k "$scratch" -p 5432 -c listen_addresses='' -c fsync="$sync" \
        -c synchronous_commit="$commit" -c full_page_writes="$commit" -c max_connections=200 \
        -c shared_buffers=256MB -c max_wal_size=4GB -c logging_collector=off -c autovacuum_naptime=10s "$@" \
        >"$scratch/log" 2>&1 </dev/null &
    server=$!
}
start "$@"
is_ready() {
    [ "$(head -n 1 "$data/postmaster.pid")" = "$server" ] &&
        grep -q -e '^ready' -e '^standby' "$data/postmaster.pid"
}
children() {
    cat "/proc/$server/task/$server/children" ||
        ps -A -o pid= -o ppid= | while read -r pid parent; do [ "$parent" != "$server" ] || echo "$pid"; done
}
while read -r order; do
    kill -STOP "$server"
    # shellcheck disable=SC2046 # one word for each process
    kill -KILL $(children) "$server"
    wait "$server"
    [ "$order" != kill ] || continue
    start "$@"
    until is_ready; do
        sleep 0.02
        kill -0 "$server" || start "$@"
    done
done 2>/dev/null
{ while kill -"$stop" "$server"; do sleep 1; done; } 2>/dev/null &
wait "$server"
rm -rf "$scratch"
