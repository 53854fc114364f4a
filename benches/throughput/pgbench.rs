//! PostgreSQL's own load generator, written in C, as the limit: it does nothing with what it gets.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use refresh_tokens_support::{Database, binaries};

use crate::rounds::Measured;

/// The reference's five statements on its own table.
///
/// Hashes and ids are numbers in disguise, because pgbench has no strings: in no order, like real ones, but shorter.
pub(crate) const REFERENCE: &str = r"
\if :n = 0
\set old :base + :client_id
\else
\set old :new
\endif
\set n 1
\set new abs(hash_murmur2(:old))
BEGIN;
SELECT id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at FROM refresh_tokens WHERE token_hash = :old::text AND revoked_at IS NULL AND rotated_to IS NULL AND expires_at > clock_timestamp() FOR UPDATE \gset
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at) VALUES (lpad(:new::text, 32, '0')::uuid, :user_id, :new::text, :active_org_id, :expires_at) RETURNING id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at;
UPDATE refresh_tokens SET rotated_to = lpad(:new::text, 32, '0')::uuid WHERE id = :id;
COMMIT;
";

/// The same work on this crate's table, which has more columns and one index more.
pub(crate) const SAME_TABLE: &str = r"
\if :n = 0
\set old :base + :client_id
\else
\set old :new
\endif
\set n 1
\set new abs(hash_murmur2(:old))
BEGIN;
SELECT * FROM refresh_tokens WHERE token_hash = :old::text AND revoked_at IS NULL AND rotated_to IS NULL AND least(expires_at, session_expires_at) > clock_timestamp() FOR UPDATE \gset
INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at, session_id, session_started_at, generation) VALUES (lpad(:new::text, 32, '0')::uuid, :user_id, :new::text, :active_org_id, :expires_at, :session_id, :session_started_at, :generation::integer + 1) RETURNING *;
UPDATE refresh_tokens SET rotated_to = lpad(:new::text, 32, '0')::uuid, rotated_at = clock_timestamp() WHERE id = :id;
COMMIT;
";

/// What `get_valid_by_hash` sends.
pub(crate) const LOOK_UP: &str = r"
\set token random(1, :tokens)
\set hash 1000000000000000000 + :token
SELECT id, user_id, token_hash, active_org_id, expires_at, revoked_at, rotated_to, created_at, session_id, session_expires_at, revoked_reason, generation, rotated_at, session_started_at, reused_at FROM refresh_tokens WHERE token_hash = :hash AND revoked_at IS NULL AND rotated_to IS NULL AND least(expires_at, session_expires_at) > clock_timestamp() LIMIT 1;
";

/// Beside the server's programs, or where they are links to; else wherever it is on PATH.
fn program() -> PathBuf {
    let server = binaries::find().map(|folder| folder.join("postgres"));
    let linked = server.as_ref().and_then(|server| fs::canonicalize(server).ok());
    let beside = [server, linked].into_iter().flatten().map(|server| server.with_file_name("pgbench"));
    beside.into_iter().find(|program| program.is_file()).unwrap_or_else(|| PathBuf::from("pgbench"))
}

/// pgbench on a table, with so many clients.
pub(crate) struct Pgbench<'a> {
    database: &'a Database,
    script: PathBuf,
    clients: usize,
    turns: u64,
    tokens: i32,
}

impl<'a> Pgbench<'a> {
    pub(crate) fn new(database: &'a Database, script: &str, clients: usize, tokens: i32) -> Self {
        let path = std::env::temp_dir().join(format!("{}.pgbench", database.schema()));
        fs::write(&path, script).expect("the temporary folder can be written");
        Self { database, script: path, clients, turns: 0, tokens }
    }

    pub(crate) fn turn(&mut self, duration: Duration) -> Measured {
        // Every turn has chains of its own, because pgbench remembers nothing.
        self.turns += 1;
        let base = self.turns * 10_000_000_000;
        for client in 0..self.clients {
            let start = base + client as u64;
            let insert = format!(
                "INSERT INTO refresh_tokens (id, user_id, token_hash, active_org_id, expires_at)
                 VALUES (lpad('{start}', 32, '0')::uuid, gen_random_uuid(), '{start}', gen_random_uuid(), now() + interval '30 days')"
            );
            self.database.connect().batch_execute(&insert).expect("the token is new");
        }
        let mut command = Command::new(program());
        command.args(["--no-vacuum", "--protocol=prepared"]).arg("--file").arg(&self.script);
        command.args([format!("--client={}", self.clients), format!("--jobs={}", self.clients.min(2))]);
        command.args(["-D".to_owned(), "n=0".to_owned(), "-D".to_owned(), format!("base={base}")]);
        command.args(["-D".to_owned(), format!("tokens={}", self.tokens)]);
        match duration.as_secs() {
            0 => command.arg("--transactions=20"),
            seconds => command.arg(format!("--time={seconds}")),
        };
        let output = command.arg(self.database.url()).output();
        let output = output.unwrap_or_else(|error| {
            panic!("pgbench, which comes with PostgreSQL's server or its contrib package: {error}")
        });
        let text = String::from_utf8_lossy(&output.stdout);
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        match rate {
            Some(per_second) if output.status.success() => Measured { per_second, ..Measured::default() },
            _ => panic!("pgbench failed: {text}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

impl Drop for Pgbench<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.script);
    }
}
