//! The rows that every run of a verb starts from, and the table as it is compared: by names, without ids and instants.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use refresh_tokens::schema::refresh_tokens::dsl;
use refresh_tokens::{
    Binding, IssuedToken, Login, NewRefreshToken, RefreshToken, RefreshTokenRepository, Rotation, SessionService,
    Successor, TokenHash,
};
use refresh_tokens_support::doc::{fresh_hash, in_days, new_token, successor};
use uuid::Uuid;

/// A user with a session of two tokens, another session, and one that is revoked; somebody else of the same
/// organisation; a session that the service began; three tokens that expired long ago.
pub(crate) struct Fixture {
    pub(crate) spent: RefreshToken,
    pub(crate) live: RefreshToken,
    pub(crate) second: RefreshToken,
    pub(crate) issued: IssuedToken,
    /// What the verbs bring into being: the same however often they are called.
    pub(crate) new: NewRefreshToken,
    pub(crate) successors: [Successor; 3],
    pub(crate) login: Login,
    /// Whose login it is.
    pub(crate) newcomer: Uuid,
    names: HashMap<Uuid, &'static str>,
}

impl Fixture {
    /// The tables as they were when it was made.
    pub(crate) fn put_back(conn: &mut PgConnection) {
        conn.batch_execute(
            "DELETE FROM refresh_tokens; DELETE FROM refresh_token_cutoffs; DELETE FROM audit;
             DO $$ DECLARE partition regclass; BEGIN
                 FOR partition IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'refresh_tokens_archive'::regclass
                 LOOP EXECUTE 'DROP TABLE ' || partition; END LOOP;
             END $$;
             INSERT INTO refresh_tokens TABLE fixture",
        )
        .unwrap();
    }

    /// Fills the tables, which are new, and keeps a copy of the rows.
    pub(crate) fn make(conn: &mut PgConnection, service: &SessionService) -> Self {
        let mut tokens = RefreshTokenRepository::new(conn);
        let spent = tokens.create(&new_token()).unwrap();
        let rotation = tokens.rotate(&spent.token_hash, &successor(), Binding::ANY).unwrap();
        let Rotation::Rotated(live) = rotation else { panic!("{rotation:?}") };
        let of_user = |org_id| NewRefreshToken { user_id: spent.user_id, active_org_id: org_id, ..new_token() };
        let second = tokens.create(&of_user(Uuid::new_v4())).unwrap();
        let revoked = tokens.create(&of_user(spent.active_org_id)).unwrap();
        assert!(tokens.revoke(revoked.id).unwrap().is_revoked());
        let else_of_org = NewRefreshToken { active_org_id: spent.active_org_id, ..new_token() };
        let somebody = tokens.create(&else_of_org).unwrap();
        let expired: Vec<Uuid> = (0..3).map(|_| tokens.create(&new_token()).unwrap().id).collect();
        let now = tokens.now().unwrap();
        let login = |user_id| Login::new(user_id, Uuid::new_v4()).authenticated_at(now);
        let issued = service.start_session(&login(Uuid::new_v4())).unwrap();
        let old = dsl::refresh_tokens.filter(dsl::id.eq_any(&expired));
        diesel::update(old).set(dsl::expires_at.eq(in_days(-40))).execute(conn).unwrap();
        conn.batch_execute("CREATE TABLE fixture AS TABLE refresh_tokens").unwrap();

        // A login that says when passes the gate.
        let mut new = of_user(spent.active_org_id);
        new.session = new.session.authenticated_at(now);
        let ids = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        let successors = ids.map(|id| Successor::expiring_at(id, fresh_hash(), in_days(30)));
        let newcomer = Uuid::new_v4();
        let mut names = HashMap::new();
        for (token, session, name) in [
            (&spent, "A", "A0"),
            (&live, "A", "A1"),
            (&second, "B", "B0"),
            (&revoked, "C", "C0"),
            (&somebody, "D", "D0"),
            (&issued.token, "S", "S0"),
        ] {
            names.extend([(token.session_id, session), (token.id, name)]);
        }
        names.extend([(spent.user_id, "user"), (spent.active_org_id, "org"), (Uuid::nil(), "any")]);
        names.extend([(new.id, "N0"), (ids[0], "X1"), (ids[1], "Y1"), (ids[2], "Z1")]);
        names.extend([(issued.token.user_id, "user of S"), (newcomer, "newcomer")]);
        names.extend(expired.into_iter().map(|id| (id, "old")));
        Self { spent, live, second, issued, new, successors, login: login(newcomer), newcomer, names }
    }

    /// Requests for three tokens: two that can be rotated, and one that is spent.
    pub(crate) fn three(&self) -> [(TokenHash, Successor); 3] {
        let [first, second, third] = &self.successors;
        [(&self.live, first), (&self.second, second), (&self.spent, third)]
            .map(|(token, successor)| (token.token_hash.clone(), successor.clone()))
    }

    /// How many tokens of a user can be rotated.
    pub(crate) fn alive(conn: &mut PgConnection, user_id: Uuid) -> usize {
        RefreshTokenRepository::new(conn).get_active_tokens_for_user(user_id).unwrap().len()
    }

    /// An id as the comparison knows it.
    pub(crate) fn name(&self, id: Uuid) -> &'static str {
        self.names.get(&id).copied().unwrap_or("new")
    }

    /// All that a verb can change, a line each, in order.
    pub(crate) fn shape(&self, conn: &mut PgConnection) -> Vec<String> {
        let rows: Vec<RefreshToken> = dsl::refresh_tokens.select(RefreshToken::as_select()).load(conn).unwrap();
        check(&rows);
        let mut lines: Vec<String> = rows
            .iter()
            .map(|row| {
                let (session, name) = (self.name(row.session_id), self.name(row.id));
                let next = row.rotated_to.map(|id| self.name(id));
                let (reason, reused) = (row.revoked_reason.as_ref().map(ToString::to_string), row.reused_at.is_some());
                let is_revoked = row.revoked_at.is_some();
                format!(
                    "{session} {} {name} rotated to {next:?} revoked {is_revoked} {reason:?} reused {reused}",
                    row.generation
                )
            })
            .collect();
        diesel::table! { refresh_token_cutoffs (user_id, org_id) { user_id -> Uuid, org_id -> Uuid, } }
        let cutoffs: Vec<(Uuid, Uuid)> = refresh_token_cutoffs::table.load(conn).unwrap();
        lines.extend(cutoffs.iter().map(|(user, org)| format!("cutoff {} {}", self.name(*user), self.name(*org))));
        for (what, from) in [
            ("archived", "refresh_tokens_archive"),
            ("partitions", "pg_inherits WHERE inhparent = 'refresh_tokens_archive'::regclass"),
            ("audited", "audit"),
        ] {
            lines.push(format!("{what} {}", count(conn, from)));
        }
        lines.sort();
        lines
    }
}

fn count(conn: &mut PgConnection, from: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let counted: Counted = sql_query(format!("SELECT count(*) AS rows FROM {from}")).get_result(conn).unwrap();
    counted.rows
}

/// Invariants 1, 2 and 5, whatever was done.
fn check(rows: &[RefreshToken]) {
    let ids: HashSet<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut sessions: BTreeMap<Uuid, Vec<&RefreshToken>> = BTreeMap::new();
    for row in rows {
        sessions.entry(row.session_id).or_default().push(row);
    }
    for rows in sessions.values() {
        let live = rows.iter().filter(|row| row.rotated_to.is_none() && row.revoked_at.is_none()).count();
        assert!(live <= 1, "two live tokens of one session: {rows:?}");
        let generations: HashSet<i32> = rows.iter().map(|row| row.generation).collect();
        assert_eq!(generations.len(), rows.len(), "two successors of one token: {rows:?}");
        assert!(rows.iter().filter_map(|row| row.rotated_to).all(|id| ids.contains(&id)), "{rows:?}");
    }
}
