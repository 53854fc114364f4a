//! What a statement touches, and so which two steps of a schedule can be swapped without anybody noticing.

use std::ops::BitOr;

const TABLES: [&str; 3] = ["refresh_tokens", "refresh_token_gates", "refresh_token_cutoffs"];

/// A set of the library's tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tables(u8);

impl Tables {
    fn named_in(sql: &str) -> Self {
        let named = TABLES.iter().enumerate().filter(|(_, name)| sql.contains(*name));
        Self(named.fold(0, |set, (bit, _)| set | 1 << bit))
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Tables {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a step reads, locks and makes visible to the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) reads: Tables,
    pub(crate) locks: Tables,
    /// Where it looked for rows to lock and got none.
    pub(crate) probes: Tables,
    /// What its COMMIT or ROLLBACK shows to the others, and releases.
    pub(crate) publishes: Tables,
    /// It is the first step of its verb.
    pub(crate) begins: bool,
    /// A verb ended with it.
    pub(crate) ends: bool,
}

impl Footprint {
    /// Whether either order of two steps leads to the same state and the same answers.
    ///
    /// A plain SELECT waits for nobody and sees only what is committed, so it commutes with all but ends of
    /// transactions. Statements that lock or write commute where they name no common table; the clock, too, is
    /// compared only between statements that name the table of the instant. The end of one verb and the
    /// beginning of another do not commute: which verb was over when another was called is part of the promise.
    pub(crate) fn commutes_with(self, other: Self) -> bool {
        let disturbs = |one: Self, other: Self| {
            one.publishes.meets(other.reads | other.locks | other.probes)
                || one.locks.meets(other.locks | other.probes)
                || one.ends && other.begins
        };
        !disturbs(self, other) && !disturbs(other, self)
    }

    /// Whether it ends a transaction, and does nothing else.
    pub(crate) fn is_end(self) -> bool {
        self.locks.is_empty() && !self.publishes.is_empty()
    }

    /// The same step of a transaction that turned out to have neither changed nor locked a row.
    pub(crate) fn in_vain(self) -> Self {
        Self { locks: Tables::default(), probes: self.locks, ..self }
    }
}

impl BitOr for Footprint {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            reads: self.reads | other.reads,
            locks: self.locks | other.locks,
            probes: self.probes | other.probes,
            publishes: self.publishes | other.publishes,
            begins: self.begins || other.begins,
            ends: self.ends || other.ends,
        }
    }
}

/// What a connection has sent so far, as far as it matters for the next statement.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    open: bool,
    /// What its COMMIT will show and release.
    held: Tables,
}

impl Transaction {
    /// The footprint of the next statement, or none where it touches nothing that is shared: then it needs no stop.
    ///
    /// BEGIN is one of these: in READ COMMITTED it takes neither snapshot nor lock. So are savepoints, clocks and
    /// settings, and the COMMIT of a transaction that has only read. Not so the end of a savepoint that is undone: it
    /// gives back the locks that were taken in it.
    pub(crate) fn next(&mut self, sql: &str) -> Option<Footprint> {
        let tables = Tables::named_in(sql);
        if sql.starts_with("BEGIN") {
            *self = Self { open: true, held: Tables::default() };
            return None;
        }
        if sql == "COMMIT" || sql == "ROLLBACK" {
            self.open = false;
            let publishes = std::mem::take(&mut self.held);
            return Some(Footprint { publishes, ..Footprint::default() }).filter(|_| !publishes.is_empty());
        }
        if sql.starts_with("ROLLBACK TO") {
            return Some(Footprint { publishes: self.held, ..Footprint::default() }).filter(|_| !self.held.is_empty());
        }
        if tables.is_empty() {
            return None;
        }
        if is_plain_select(sql) {
            return Some(Footprint { reads: tables, ..Footprint::default() });
        }
        let step = Footprint { reads: tables, locks: tables, ..Footprint::default() };
        if self.open {
            self.held = self.held | tables;
            return Some(step);
        }
        Some(Footprint { publishes: tables, ..step })
    }
}

fn is_plain_select(sql: &str) -> bool {
    sql.trim_start().starts_with("SELECT") && !sql.contains(" FOR UPDATE") && !sql.contains(" FOR SHARE")
}

/// A statement without its binds and comments, and what to call it: the name of its file, or its first words.
pub(crate) fn read(query: &str) -> (String, String) {
    let text = query.split("-- binds:").next().unwrap_or_default();
    let (comments, code): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("--"));
    let sql = code.join("\n").trim().to_owned();
    let file = comments.first().and_then(|line| line.trim_start_matches("-- ").split_once(':'));
    let name = match file {
        Some((file, _)) => format!("{file}.sql"),
        None => abridged(&sql),
    };
    (sql, name)
}

/// Its verb, its table and its locking, without the list of columns.
fn abridged(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let plain = words.join(" ").replace('"', "");
    let from = plain.find(" FROM ").filter(|at| plain.starts_with("SELECT") && *at > 30);
    let short = match from {
        Some(at) => format!("SELECT …{}", &plain[at..]),
        None => plain,
    };
    match short.char_indices().nth(100) {
        Some((at, _)) => {
            let lock = ["FOR UPDATE", "FOR SHARE"].into_iter().find(|lock| short[at..].contains(lock));
            format!("{}… {}", &short[..at], lock.unwrap_or_default()).trim_end().to_owned()
        }
        None => short,
    }
}
