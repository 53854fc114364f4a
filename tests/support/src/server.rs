//! A PostgreSQL server of one's own: started from installed binaries, reached by socket, gone with its parent.
//!
//! Everything is done by a shell, the keeper (`keeper.sh`), that waits until its standard input closes. The kernel
//! closes it however the parent ends, so the server and its folder also go after Ctrl-C, a panic or SIGKILL.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::account::{Account, make_for, run_as, scratch_folder, unprivileged};
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

const KEEPER: &str = include_str!("keeper.sh");

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

    /// Kills all of the server's processes by SIGKILL, in the middle of what they do, as the kernel would that is out
    /// of memory, and returns when the server has recovered.
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

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::fs::PermissionsExt;

    use uuid::Uuid;

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
