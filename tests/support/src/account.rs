//! The account that server programs run as where this is root, and folders that it can use.

use std::env;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use uuid::Uuid;

/// An account of this machine.
#[derive(Debug, Clone)]
pub struct Account {
    pub(crate) name: String,
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

pub(crate) fn run_as(command: &mut Command, owner: Option<&Account>) {
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
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
pub(crate) fn make_for(folder: &Path, owner: Option<&Account>) -> io::Result<()> {
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
