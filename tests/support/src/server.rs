//! A PostgreSQL server of one's own: started from installed binaries, reached by socket, gone with its parent.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::binaries;

/// Why a server did not start, and what to do about it.
#[derive(Debug)]
pub enum ServerError {
    /// No server programs were found.
    NoBinaries,
    /// A file could not be made or owned.
    Io(PathBuf, io::Error),
    /// `initdb` or `postgres` failed; its output.
    Failed(&'static str, String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBinaries => write!(
                f,
                "no PostgreSQL server programs (initdb, postgres) were found on PATH, by pg_config or in the usual folders.\n\
                 Run ./scripts/test or ./scripts/quickstart, which install them, or install them yourself:\n  \
                 Debian, Ubuntu:  apt-get install postgresql\n  \
                 Fedora:          dnf install postgresql-server\n  \
                 Alpine:          apk add postgresql\n  \
                 macOS:           brew install postgresql@17\n\
                 or name their folder in {}, or a running server in DATABASE_URL.",
                binaries::OVERRIDE
            ),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Failed(program, output) => write!(f, "{program} failed:\n{output}"),
        }
    }
}

impl std::error::Error for ServerError {}

/// A running server. Dropping it, or the end of this process by any means, stops it.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    keeper: Child,
}

/// Starts the server, waits until its standard input closes, and stops it: the kernel closes it however the
/// parent ends, SIGKILL included. $1 programs, $2 folder, $3 what to remove afterwards.
const KEEPER: &str = r#"
"$1/postgres" -D "$2/data" -k "$2/socket" -c listen_addresses='' -c fsync="$4" -c synchronous_commit="$4" \
    -c full_page_writes="$4" -c max_connections=200 -c shared_buffers=256MB -c max_wal_size=4GB \
    -c logging_collector=off -c autovacuum_naptime=10s >"$2/log" 2>&1 </dev/null &
server=$!
trap '' INT TERM HUP
read -r _
kill -INT "$server" 2>/dev/null
wait "$server"
[ -z "$3" ] || rm -rf "$3"
"#;

const START_LIMIT: Duration = Duration::from_mins(1);

/// Whether data has to survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As in production: for benches and for data that is kept.
    Full,
    /// No fsync: for tests, whose data goes away.
    None,
}

impl Server {
    /// Starts a server on a temporary folder, which is removed afterwards.
    ///
    /// # Errors
    ///
    /// Where there are no server programs, or they fail.
    pub fn temporary(durability: Durability) -> Result<Self, ServerError> {
        let folder = std::env::temp_dir().join(format!("refresh-tokens-{}", Uuid::new_v4().simple()));
        Self::start(&folder, true, durability)
    }

    /// Starts a server on a given folder, which is made if it is not there and stays afterwards.
    ///
    /// # Errors
    ///
    /// Where there are no server programs, or they fail, or another server runs on the folder.
    pub fn at(folder: &Path) -> Result<Self, ServerError> {
        let folder = std::path::absolute(folder).map_err(|error| ServerError::Io(folder.to_owned(), error))?;
        Self::start(&folder, false, Durability::Full)
    }

    fn start(folder: &Path, remove: bool, durability: Durability) -> Result<Self, ServerError> {
        let programs = binaries::find().ok_or(ServerError::NoBinaries)?;
        let owner = unprivileged();
        for path in [folder.to_owned(), folder.join("socket")] {
            let made = fs::create_dir_all(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)))
                .and_then(|()| match owner {
                    Some((uid, gid)) => chown(&path, Some(uid), Some(gid)),
                    None => Ok(()),
                });
            made.map_err(|error| ServerError::Io(path, error))?;
        }
        let server = |keeper| Self { folder: folder.to_owned(), keeper };
        if !folder.join("data/PG_VERSION").exists() {
            initdb(&programs, folder, owner)?;
        }
        let mut shell = Command::new("sh");
        shell
            .args(["-c", KEEPER, "keeper"])
            .arg(&programs)
            .arg(folder)
            .arg(if remove { folder.as_os_str() } else { "".as_ref() })
            .arg(if durability == Durability::Full { "on" } else { "off" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0); // out of reach of Ctrl-C, which ends the parent, which ends it
        drop_privileges(&mut shell, owner);
        let keeper = shell.spawn().map_err(|error| ServerError::Io("sh".into(), error))?;
        let server = server(keeper);
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&self) -> Result<(), ServerError> {
        let started = Instant::now();
        loop {
            let status = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            if log.contains("FATAL:") || started.elapsed() > START_LIMIT {
                return Err(ServerError::Failed("postgres", log));
            }
            #[expect(clippy::disallowed_methods, reason = "a file cannot be waited for; bounded by START_LIMIT")]
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where to connect: a Unix socket, as the superuser `postgres`.
    pub fn url(&self) -> String {
        let folder = self.folder.join("socket");
        format!("postgresql:///postgres?user=postgres&host={}", folder.display())
    }

    /// The folder with data, socket and log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn initdb(programs: &Path, folder: &Path, owner: Option<(u32, u32)>) -> Result<(), ServerError> {
    let mut command = Command::new(programs.join("initdb"));
    command
        .arg("-D")
        .arg(folder.join("data"))
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .current_dir("/");
    drop_privileges(&mut command, owner);
    let output = command.output().map_err(|error| ServerError::Io(programs.join("initdb"), error))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(ServerError::Failed("initdb", String::from_utf8_lossy(&text).into_owned()))
}

fn drop_privileges(command: &mut Command, owner: Option<(u32, u32)>) {
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
}

/// `initdb` and `postgres` refuse to run as root: the account to run them as, if this is root.
fn unprivileged() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").ok();
    let is_root = match status {
        Some(status) => status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1).map(|id| id == "0"))
            .unwrap_or(false),
        None => std::env::var("USER").is_ok_and(|user| user == "root"),
    };
    is_root.then(|| account("postgres").or_else(|| account("nobody")).unwrap_or((65_534, 65_534)))
}

fn account(name: &str) -> Option<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}
