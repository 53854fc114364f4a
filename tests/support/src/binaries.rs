//! Finds PostgreSQL's server programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a folder with `initdb` and `postgres`, and goes before all others.
pub const OVERRIDE: &str = "REFRESH_TOKENS_PG_BIN";

/// The folder that holds `initdb` and `postgres`: of several, the first that is on `PATH` or, in the usual folders, the newest.
pub fn find() -> Option<PathBuf> {
    if let Some(folder) = env::var_os(OVERRIDE) {
        return Some(PathBuf::from(folder)).filter(|folder| is_complete(folder));
    }
    on_path().or_else(by_pg_config).or_else(in_usual_folders)
}

/// What to tell the user when [`find`] found nothing.
pub fn not_found() -> String {
    if let Some(folder) = env::var_os(OVERRIDE) {
        let folder = Path::new(&folder).display();
        return format!("{OVERRIDE} names {folder}, which does not have PostgreSQL's initdb and postgres.");
    }
    format!(
        "No PostgreSQL server programs (initdb, postgres) were found on PATH, by pg_config or in the usual folders.\n\
         ./scripts/test and ./scripts/quickstart install them where they can. By hand:\n  \
         Debian, Ubuntu:  apt-get install postgresql\n  \
         Fedora:          dnf install postgresql-server\n  \
         Alpine:          apk add postgresql\n  \
         macOS:           brew install postgresql@17\n\
         Or name their folder in {OVERRIDE}, or a running server in DATABASE_URL."
    )
}

fn is_complete(folder: &Path) -> bool {
    folder.join("initdb").is_file() && folder.join("postgres").is_file()
}

fn on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).find(|folder| is_complete(folder))
}

fn by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(folder).filter(|folder| is_complete(folder))
}

/// Parent, prefix of the child's name, and the rest of the path.
const USUAL: [(&str, &str, &str); 10] = [
    ("/usr/lib/postgresql", "", "bin"),         // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                  // PostgreSQL's own packages for Fedora and RHEL
    ("/usr/libexec", "postgresql", ""),         // Alpine
    ("/usr/lib", "postgresql", "bin"),          // openSUSE
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql", "bin"),    // Homebrew on Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/opt/local/lib", "postgresql", "bin"), // MacPorts
    ("/Library/PostgreSQL", "", "bin"),      // the installer for macOS
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

fn in_usual_folders() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix, rest) in USUAL {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(version) = name.strip_prefix(prefix) else {
                continue;
            };
            let folder = entry.path().join(rest);
            if is_complete(&folder) {
                let digits: String = version.chars().filter(char::is_ascii_digit).take(2).collect();
                found.push((digits.parse().unwrap_or(0), folder));
            }
        }
    }
    found.into_iter().max().map(|(_, folder)| folder)
}
