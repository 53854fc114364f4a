//! A private server whose disk can be full and whose clock can be set, by what is preloaded into it: as an account
//! without rights, and without a file system of one's own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::server::{Durability, Server, ServerError};

/// For the keeper, which compiles it.
pub(crate) const SOURCE: &str = include_str!("faults.c");

/// What has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Nothing: there is room.
    Nothing = 0,
    /// The tables, while the write-ahead log has its own disk.
    Tables = 1,
    /// Everything.
    Everything = 2,
}

/// The faults of one server; with none, it runs as any other.
#[derive(Debug)]
pub struct Faults {
    control: File,
}

impl Faults {
    /// A server and its faults.
    ///
    /// # Errors
    ///
    /// As [`Server::temporary`]; also where there is no C compiler, and where a system has no `LD_PRELOAD`.
    pub fn server(settings: &[&str]) -> Result<(Server, Self), ServerError> {
        let server = Server::temporary_with_faults(Durability::Process, settings)?;
        let path = server.folder().join("faults");
        let control = OpenOptions::new().write(true).open(&path).map_err(|error| ServerError::Io(path, error))?;
        Ok((server, Self { control }))
    }

    /// From now on, no file of these can grow.
    pub fn fill_disk(&self, full: Full) -> io::Result<()> {
        self.control.write_all_at(&(full as i64).to_ne_bytes(), 0)
    }

    /// From now on, the server's clock is this much behind the machine's.
    pub fn set_clock_back(&self, by: Duration) -> io::Result<()> {
        let micros = i64::try_from(by.as_micros()).map_err(io::Error::other)?;
        self.control.write_all_at(&(-micros).to_ne_bytes(), 8)
    }
}
