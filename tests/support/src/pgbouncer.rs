//! PgBouncer in transaction mode, in front of a private server: reached by socket, gone with its parent.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::account::{run_as, scratch_folder, unprivileged};
use crate::server::{START_LIMIT, Server, ServerError, pause};

/// A running PgBouncer. Dropping it, or the end of this process by any means, stops it.
#[derive(Debug)]
pub struct PgBouncer {
    scratch: PathBuf,
    keeper: Child,
}

/// As the server's keeper: its standard input closes, however the parent ends.
const KEEPER: &str = r#"
program=$1 scratch=$2 config=$3
umask 077
trap '' INT TERM HUP PIPE
mkdir "$scratch" || exit 1
printf '%s\n' "$config" >"$scratch/pgbouncer.ini"
printf '"postgres" ""\n' >"$scratch/users"
"$program" -q "$scratch/pgbouncer.ini" >"$scratch/log" 2>&1 </dev/null &
pooler=$!
while read -r _; do :; done
{ kill -KILL "$pooler"; wait "$pooler"; } 2>/dev/null
rm -rf "$scratch"
"#;

impl PgBouncer {
    /// Starts one on a server, with more lines of its configuration (`name = value`).
    ///
    /// # Errors
    ///
    /// Where the program is missing, or fails; the message says what to do.
    pub fn in_front_of(server: &Server, settings: &[&str]) -> Result<Self, ServerError> {
        let program = find().ok_or_else(|| ServerError::Failed(NOT_FOUND.to_owned()))?;
        let owner = unprivileged();
        let scratch = scratch_folder(owner.as_ref());
        let mut shell = Command::new("sh");
        shell
            .args(["-c", KEEPER, "keeper"])
            .args([program.as_os_str(), scratch.as_os_str()])
            .arg(configuration(server.folder(), &scratch, settings))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .current_dir("/")
            .process_group(0); // out of reach of Ctrl-C, which ends the parent, which ends it
        run_as(&mut shell, owner.as_ref());
        let keeper = shell.spawn().map_err(|error| ServerError::Io("sh".into(), error))?;
        let pooler = Self { scratch, keeper };
        pooler.wait_until_ready()?;
        Ok(pooler)
    }

    fn wait_until_ready(&self) -> Result<(), ServerError> {
        let started = Instant::now();
        while !self.scratch.join(".s.PGSQL.6432").exists() {
            let log = fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
            if log.contains("FATAL") || started.elapsed() > START_LIMIT {
                return Err(ServerError::Failed(format!("PgBouncer: {log}")));
            }
            pause();
        }
        Ok(())
    }

    /// Where to connect, as the superuser `postgres`, to a database of this name.
    pub fn url(&self, database: &str) -> String {
        let folder = self.scratch.display();
        format!("postgresql:///{database}?user=postgres&host={folder}&port=6432&sslmode=disable")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn configuration(server: &Path, scratch: &Path, settings: &[&str]) -> String {
    let (server, scratch) = (server.display(), scratch.display());
    format!(
        "[databases]\n* = host={server} port=5432\n\
         [pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {scratch}\n\
         auth_type = trust\nauth_file = {scratch}/users\npool_mode = transaction\nmax_client_conn = 500\n{}",
        settings.join("\n")
    )
}

/// Debian installs it where only root's `PATH` leads.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(usual).map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}

const NOT_FOUND: &str = "PgBouncer is missing. ./scripts/test installs it where it can. By hand:\n  \
    Debian, Ubuntu:  apt-get install pgbouncer\n  \
    Fedora:          dnf install pgbouncer\n  \
    Alpine:          apk add pgbouncer\n  \
    macOS:           brew install pgbouncer";
