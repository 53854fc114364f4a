//! A PostgreSQL server of one's own: started from installed binaries, reached by socket, gone with its parent.
//!
//! Everything is done by a shell, the keeper, that waits until its standard input closes. The kernel closes it
//! however the parent ends, so the server and its folder also go after Ctrl-C, a panic or SIGKILL.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::{binaries, faults};

/// Why a server did not start, and what to do about it.
#[derive(Debug)]
pub enum ServerError {
    /// No server programs were found.
    NoBinaries,
    /// A file could not be made or owned.
    Io(PathBuf, io::Error),
    /// PostgreSQL refuses to run as root, and the account that it runs as instead cannot enter a folder.
    NotReachable(PathBuf, Account),
    /// `initdb` or `postgres` failed; what it said.
    Failed(String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBinaries => f.write_str(&binaries::not_found()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NotReachable(path, Account { name, .. }) => write!(
                f,
                "PostgreSQL refuses to run as root, so its server runs as the account {name} here, and that\n\
                 cannot enter {}.\n\
                 Choose a folder that every account can reach, such as one in /var/tmp, or do not run this as root.",
                path.display()
            ),
            Self::Failed(output) => write!(f, "PostgreSQL did not start:\n{}", output.trim_end()),
        }
    }
}

impl std::error::Error for ServerError {}

/// A running server. Dropping it, or the end of this process by any means, stops it.
#[derive(Debug)]
pub struct Server {
    scratch: PathBuf,
    data: PathBuf,
    keeper: Child,
}

/// The keeper. It makes the scratch folder itself, so that there is no moment at which it could be left behind.
/// Data that is kept may have a server that is just stopping, when its parent was killed a moment ago. A signal
/// that comes before `postgres` listens is lost, so it is sent until it has worked. A line on its input kills all of the
/// server's processes, wherever each of them is, and, unless it is `kill`, starts it again. `postgres` is stopped first, so
/// that it forks none meanwhile; if one were left, the new server would not start before that one has noticed. A standby
/// begins as a copy of the primary's data, as they were before its first start.
const KEEPER: &str = r#"
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
    pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null || break
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
is_ready() { [ "$(head -n 1 "$data/postmaster.pid")" = "$server" ] && grep -q -e '^ready' -e '^standby' "$data/postmaster.pid"; }
children() {
    cat "/proc/$server/task/$server/children" ||
        ps -A -o pid= -o ppid= | while read -r pid parent; do [ "$parent" != "$server" ] || echo "$pid"; done
}
while read -r order; do
    kill -STOP "$server"
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
"#;

pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);

/// Whether data has to survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As in production: for benches and for data that is kept.
    Full,
    /// No fsync, and yet nothing is lost when the server's processes are killed: for tests that do it.
    Process,
    /// Nothing is waited for: for tests, whose data goes away.
    None,
}

/// A server's part among others.
#[derive(Clone, Copy)]
enum Part<'a> {
    Alone,
    /// With a library of this source before its own.
    Faulty(&'static str),
    Primary,
    StandbyOf(&'a Server),
}

impl Server {
    /// Starts a server on a temporary folder, which is removed afterwards.
    ///
    /// # Errors
    ///
    /// Where there are no server programs, or they fail.
    pub fn temporary(durability: Durability) -> Result<Self, ServerError> {
        Self::temporary_with(durability, &[])
    }

    /// As [`temporary`](Self::temporary), with settings of the server (`name=value`) that go before this module's own.
    ///
    /// # Errors
    ///
    /// As [`temporary`](Self::temporary).
    pub fn temporary_with(durability: Durability, settings: &[&str]) -> Result<Self, ServerError> {
        let owner = unprivileged();
        let scratch = scratch_folder(owner.as_ref());
        let data = scratch.join("data");
        // QUIT: nobody needs a last checkpoint of data that is removed.
        Self::start(scratch, data, owner.as_ref(), durability, "QUIT", settings, Part::Alone)
    }

    /// As [`temporary_with`](Self::temporary_with), with `faults.c` preloaded.
    pub(crate) fn temporary_with_faults(durability: Durability, settings: &[&str]) -> Result<Self, ServerError> {
        let owner = unprivileged();
        let scratch = scratch_folder(owner.as_ref());
        let data = scratch.join("data");
        Self::start(scratch, data, owner.as_ref(), durability, "QUIT", settings, Part::Faulty(faults::SOURCE))
    }

    /// Two servers that keep all that they acknowledge when their processes are killed: a primary with these settings,
    /// and its hot standby, which is asynchronous unless they say otherwise.
    ///
    /// # Errors
    ///
    /// As [`temporary`](Self::temporary).
    pub fn with_standby(settings: &[&str]) -> Result<(Self, Self), ServerError> {
        let owner = unprivileged();
        let start = |settings: &[&str], part: Part<'_>| {
            let scratch = scratch_folder(owner.as_ref());
            let data = scratch.join("data");
            Self::start(scratch, data, owner.as_ref(), Durability::Process, "QUIT", settings, part)
        };
        let primary = start(&[&["wal_keep_size=1GB"][..], settings].concat(), Part::Primary)?;
        let standby = start(&["wal_retrieve_retry_interval=100ms"], Part::StandbyOf(&primary))?;
        Ok((primary, standby))
    }

    /// Starts a server on a given folder, which is made if it is not there and stays afterwards.
    ///
    /// All that it holds is in a folder `refresh-tokens-data` within it, so that nothing of yours is touched.
    ///
    /// # Errors
    ///
    /// Where there are no server programs, or they fail, or another server runs on the folder.
    pub fn at(folder: &Path) -> Result<Self, ServerError> {
        let owner = unprivileged();
        let folder = std::path::absolute(folder).map_err(|error| ServerError::Io(folder.to_owned(), error))?;
        let data = folder.join("refresh-tokens-data");
        if let Some(owner) = &owner {
            check_reachable(&data, owner)?;
        }
        if !data.exists() {
            make_for(&data, owner.as_ref()).map_err(|error| ServerError::Io(folder, error))?;
        }
        let scratch = scratch_folder(owner.as_ref());
        Self::start(scratch, data, owner.as_ref(), Durability::Full, "INT", &[], Part::Alone)
    }

    fn start(
        scratch: PathBuf,
        data: PathBuf,
        owner: Option<&Account>,
        durability: Durability,
        stop: &str,
        settings: &[&str],
        part: Part<'_>,
    ) -> Result<Self, ServerError> {
        let programs = binaries::find().ok_or(ServerError::NoBinaries)?;
        let (sync, commit) = match durability {
            Durability::Full => ("on", "on"),
            Durability::Process => ("off", "on"),
            Durability::None => ("off", "off"),
        };
        let faults = if let Part::Faulty(source) = part { source } else { "" };
        let mut shell = Command::new("sh");
        shell
            .args(["-c", KEEPER, "keeper"])
            .args([programs.as_os_str(), scratch.as_os_str(), data.as_os_str()])
            .args([sync, commit, stop, faults])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .env("LC_ALL", "C") // a locale that is not installed would stop initdb
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .current_dir("/")
            .process_group(0); // out of reach of Ctrl-C, which ends the parent, which ends it
        match part {
            Part::Alone | Part::Faulty(_) => &mut shell,
            Part::Primary => shell.env("HAS_STANDBY", "1"),
            Part::StandbyOf(primary) => shell.env("PRIMARY", &primary.scratch),
        };
        run_as(&mut shell, owner);
        let keeper = shell.spawn().map_err(|error| ServerError::Io("sh".into(), error))?;
        let mut server = Self { scratch, data, keeper };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<(), ServerError> {
        let started = Instant::now();
        loop {
            if self.is_ready() {
                return Ok(());
            }
            if matches!(self.keeper.try_wait(), Ok(Some(_))) {
                let mut output = String::new();
                if let Some(stderr) = &mut self.keeper.stderr {
                    let _ = stderr.read_to_string(&mut output);
                }
                return Err(ServerError::Failed(output));
            }
            let log = fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
            if log.contains("FATAL:") || started.elapsed() > START_LIMIT {
                return Err(ServerError::Failed(log));
            }
            pause();
        }
    }

    /// Whether `postmaster.pid` says so; its socket folder tells this server from one that ran before.
    fn is_ready(&self) -> bool {
        let lines = self.status_lines();
        lines.get(4).is_some_and(|socket| Path::new(socket) == self.scratch)
            && lines.get(7).is_some_and(|state| ["ready", "standby"].contains(&state.trim()))
    }

    /// Kills the server by SIGKILL for good, as the loss of its machine would.
    ///
    /// # Errors
    ///
    /// Where its keeper is gone.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.order(b"kill\n")
    }

    fn order(&mut self, line: &[u8]) -> Result<(), ServerError> {
        let order = self.keeper.stdin.as_mut().map(|keeper| keeper.write_all(line));
        order.unwrap_or(Ok(())).map_err(|error| ServerError::Io("the keeper".into(), error))
    }

    /// Kills all of the server's processes by SIGKILL, in the middle of what they do, as the kernel would that is out of
    /// memory, and returns when the server has recovered.
    ///
    /// # Errors
    ///
    /// Where it does not start again.
    pub fn crash(&mut self) -> Result<(), ServerError> {
        let before = self.status_lines();
        self.order(b"crash\n")?;
        let started = Instant::now();
        // The file of the old one stays until the new one writes its own, with another process in its first line.
        while self.status_lines().first() == before.first() || !self.is_ready() {
            if started.elapsed() > START_LIMIT {
                return Err(ServerError::Failed(fs::read_to_string(self.scratch.join("log")).unwrap_or_default()));
            }
            pause();
        }
        Ok(())
    }

    fn status_lines(&self) -> Vec<String> {
        let status = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        status.lines().map(str::to_owned).collect()
    }

    /// Where to connect: a Unix socket, as the superuser `postgres`.
    pub fn url(&self) -> String {
        let folder = self.scratch.display();
        format!("postgresql:///postgres?user=postgres&host={folder}&port=5432&sslmode=disable")
    }

    /// The folder with socket and log, and with the data if they are temporary.
    pub fn folder(&self) -> &Path {
        &self.scratch
    }
}

#[expect(clippy::disallowed_methods, reason = "a file cannot be waited for; bounded by START_LIMIT")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A fresh name in the temporary folder, or in `/tmp` where that one will not do: a socket's path has at most
/// some 100 bytes and stands unquoted in a URL, and the server's account must be able to write there.
pub(crate) fn scratch_folder(owner: Option<&Account>) -> PathBuf {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte);
    let has_mode = |path: &Path, mode| fs::metadata(path).is_ok_and(|found| found.mode() & mode == mode);
    let mut base = env::temp_dir();
    let text = base.as_os_str().as_bytes();
    let will_do = base.is_absolute()
        && text.len() <= 50
        && text.iter().all(is_plain)
        && (owner.is_none() || has_mode(&base, 0o003) && base.ancestors().all(|path| has_mode(path, 0o001)));
    if !will_do {
        base = PathBuf::from("/tmp");
    }
    let name = Uuid::new_v4().simple().to_string();
    base.join(format!("refresh-tokens-{}", &name[..16]))
}

/// Makes a folder of the account's own. It can enter those that have to be made above it, whatever the umask.
fn make_for(folder: &Path, owner: Option<&Account>) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().skip(1).take_while(|path| !path.exists()).collect();
    for path in missing.into_iter().rev() {
        fs::create_dir(path)?;
        if owner.is_some() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
    }
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    match owner {
        Some(owner) => chown(folder, Some(owner.uid), Some(owner.gid)),
        None => Ok(()),
    }
}

/// Whether the account can enter the folder or, if it is yet to be made, what is there of its parents.
fn check_reachable(folder: &Path, owner: &Account) -> Result<(), ServerError> {
    let existing = folder.ancestors().find(|path| path.is_dir());
    let mut test = Command::new("test");
    test.arg("-x").arg(existing.unwrap_or(folder)).current_dir("/");
    run_as(&mut test, Some(owner));
    if test.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(ServerError::NotReachable(folder.to_owned(), owner.clone()))
}

pub(crate) fn run_as(command: &mut Command, owner: Option<&Account>) {
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
}

/// An account of this machine.
#[derive(Debug, Clone)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

/// `initdb` and `postgres` refuse to run as root: the account to run them as, if this is root.
pub(crate) fn unprivileged() -> Option<Account> {
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let known = ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| Some(Account { name: name.to_owned(), uid: id(&["-u", name])?, gid: id(&["-g", name])? }));
    known.or_else(|| Some(Account { name: "65534".to_owned(), uid: 65_534, gid: 65_534 }))
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: &str = "REFRESH_TOKENS_TEST_INNER";

    /// Two processes: the inner one starts a server and waits, the outer one kills it at several moments.
    #[test]
    fn a_server_is_gone_after_its_parent_was_killed() {
        if env::var_os(INNER).is_some() {
            let _server = Server::temporary(Durability::None).unwrap();
            let _ = io::stdin().read(&mut [0]);
            return;
        }
        if binaries::find().is_none() {
            assert!(env::var_os("DATABASE_URL").is_some(), "{}", binaries::not_found());
            return; // the tests use a server elsewhere, and there is none to be started here
        }
        let folder = Path::new("/tmp").join(format!("rt-{:.12}", Uuid::new_v4().simple().to_string()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
        let scratch = || fs::read_dir(&folder).unwrap().next().map(|entry| entry.unwrap().path());

        for seen in ["log", "data/PG_VERSION", "data/postmaster.pid", ".s.PGSQL.5432"] {
            // As in a background job of a script, which ignores these signals, and so do its children at first.
            let mut inner = Command::new("sh")
                .args(["-c", r#"trap '' INT QUIT; exec "$0" "$@""#])
                .arg(env::current_exe().unwrap())
                .args(["--exact", "server::tests::a_server_is_gone_after_its_parent_was_killed"])
                .env(INNER, "1")
                .env("TMPDIR", &folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            wait_until(seen, || scratch().is_some_and(|scratch| scratch.join(seen).exists()));
            inner.kill().unwrap(); // SIGKILL
            inner.wait().unwrap();
            // The keeper removes it after it has waited for the server's end.
            wait_until("the end of the scratch folder", || scratch().is_none());
        }
        fs::remove_dir(&folder).unwrap();
    }

    fn wait_until(what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < START_LIMIT, "waited in vain for {what}");
            #[expect(clippy::disallowed_methods, reason = "a file cannot be waited for; bounded by START_LIMIT")]
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
