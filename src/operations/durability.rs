//! Whether what is acknowledged survives: the server's settings of durability and replication.

use std::fmt;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Text};

use crate::error::Result;

/// Reports what can lose an acknowledged rotation or revocation when a server or its machine dies; nothing, where all is
/// as it should be.
///
/// A rotation that is lost makes a spent token valid again, and a revocation that is lost, a stolen one: so the
/// durability of the database is a matter of security here. Call it at start, on a connection as the application's, as
/// `synchronous_commit` may be set on a role or database. It reads settings and the catalog only, and needs no privilege.
/// An application on one server without a standby has [`DurabilityRisk::NoSynchronousStandby`], and what that says is
/// true: what the machine takes with it is lost, up to the last backup.
///
/// It cannot see what the hardware, the file system or a backup does, nor whether a standby that is named keeps its
/// own disk in sync.
///
/// # Errors
///
/// Those of a connection: [`Error::ConnectionLost`](crate::Error::ConnectionLost),
/// [`Error::Database`](crate::Error::Database).
///
/// # Example
///
/// ```
/// # use refresh_tokens_support::doc::*;
/// # let mut conn = connection();
/// use refresh_tokens::{DurabilityRisk, verify_durability};
///
/// diesel::sql_query("SET synchronous_commit = off").execute(&mut *conn)?;
/// let risks = verify_durability(&mut conn)?;
/// assert!(risks.contains(&DurabilityRisk::CommitNotAwaited));
/// for risk in risks {
///     eprintln!("refresh tokens: {risk}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify_durability(conn: &mut PgConnection) -> Result<Vec<DurabilityRisk>> {
    let found: Settings = sql_query(include_str!("../sql/durability.sql")).get_result(conn)?;
    let commit = found.synchronous_commit.as_str();
    let of_commit = match commit {
        "off" => Some(DurabilityRisk::CommitNotAwaited),
        _ if found.synchronous_standby_names.trim().is_empty() => Some(DurabilityRisk::NoSynchronousStandby),
        "local" => Some(DurabilityRisk::StandbyNotAwaited),
        "remote_write" => Some(DurabilityRisk::StandbyMayNotHaveWritten),
        _ => None,
    };
    let others = [
        (found.is_standby, DurabilityRisk::IsStandby),
        (!found.fsync, DurabilityRisk::FsyncOff),
        (!found.full_page_writes, DurabilityRisk::FullPageWritesOff),
        (found.has_unlogged_table, DurabilityRisk::UnloggedTable),
    ];
    Ok(of_commit.into_iter().chain(others.into_iter().filter_map(|(holds, risk)| holds.then_some(risk))).collect())
}

#[derive(QueryableByName)]
#[expect(clippy::struct_excessive_bools, reason = "a row of settings that have nothing to do with each other")]
struct Settings {
    #[diesel(sql_type = Text)]
    synchronous_commit: String,
    #[diesel(sql_type = Text)]
    synchronous_standby_names: String,
    #[diesel(sql_type = Bool)]
    fsync: bool,
    #[diesel(sql_type = Bool)]
    full_page_writes: bool,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Bool)]
    has_unlogged_table: bool,
}

/// What can lose an acknowledged change ([`verify_durability`]); its text says what to set.
///
/// # Example
///
/// ```
/// use refresh_tokens::DurabilityRisk;
///
/// assert!(DurabilityRisk::FsyncOff.to_string().contains("fsync = on"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DurabilityRisk {
    /// `synchronous_commit` is off: a crash of the server process loses what was acknowledged in its last moments.
    CommitNotAwaited,
    /// `synchronous_standby_names` is empty: a fail-over, or the loss of the machine, loses what no standby had yet.
    NoSynchronousStandby,
    /// `synchronous_commit` is local: there are synchronous standbys, and this connection does not wait for them.
    StandbyNotAwaited,
    /// `synchronous_commit` is `remote_write`: a standby's machine that crashes may lose what it confirmed.
    StandbyMayNotHaveWritten,
    /// `fsync` is off: a crash of the machine loses or corrupts anything.
    FsyncOff,
    /// `full_page_writes` is off: a crash of the machine can tear pages, and with them rows.
    FullPageWritesOff,
    /// A table of this library's is `UNLOGGED`: a crash empties it, and no standby has it.
    UnloggedTable,
    /// The server is a standby: the settings that count are the primary's.
    IsStandby,
}

impl fmt::Display for DurabilityRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommitNotAwaited => "a crash loses acknowledged changes: set synchronous_commit = on",
            Self::NoSynchronousStandby => {
                "a fail-over loses acknowledged changes: set synchronous_standby_names = 'ANY 1 (…)', with two standbys or more"
            }
            Self::StandbyNotAwaited => {
                "a fail-over loses acknowledged changes, as this role or database has synchronous_commit = local: set it to on"
            }
            Self::StandbyMayNotHaveWritten => {
                "a fail-over to a machine that crashed, too, loses acknowledged changes: set synchronous_commit = on"
            }
            Self::FsyncOff => "a crash of the machine loses or corrupts the database: set fsync = on",
            Self::FullPageWritesOff => "a crash of the machine corrupts the database: set full_page_writes = on",
            Self::UnloggedTable => {
                "a crash or fail-over empties a table: ALTER TABLE … SET LOGGED, for each whose name begins with refresh_token"
            }
            Self::IsStandby => "this is a standby: check the primary's settings, on a connection to it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One is told what to set, so the text must not be another risk's.
    #[test]
    fn the_text_of_each_risk_names_its_cure() {
        for (risk, cure) in [
            (DurabilityRisk::CommitNotAwaited, "a crash loses acknowledged changes: set synchronous_commit = on"),
            (DurabilityRisk::NoSynchronousStandby, "set synchronous_standby_names ="),
            (DurabilityRisk::StandbyNotAwaited, "has synchronous_commit = local: set it to on"),
            (DurabilityRisk::StandbyMayNotHaveWritten, "to a machine that crashed, too, loses"),
            (DurabilityRisk::FsyncOff, "set fsync = on"),
            (DurabilityRisk::FullPageWritesOff, "set full_page_writes = on"),
            (DurabilityRisk::UnloggedTable, "SET LOGGED"),
            (DurabilityRisk::IsStandby, "check the primary's settings"),
        ] {
            assert!(risk.to_string().contains(cure), "{risk:?}: {risk}");
        }
    }
}
