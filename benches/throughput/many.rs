//! `rotate_many` on one connection, in batches of several sizes.

use refresh_tokens::{RefreshTokenRepository, Rotation, RotationRequest, TokenHash};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::successor;

use diesel::prelude::*;

use crate::contenders::{self, Next};
use crate::rounds::{Contender, Run};
use crate::table::{Rows, fill};
use crate::threads::{in_threads, log_in};

const SIZES: [(&str, usize); 4] =
    [("rotate_many, 32", 32), ("rotate_many, 1", 1), ("rotate_many, 8", 8), ("rotate_many, 128", 128)];

pub(crate) fn batches(run: &mut Run) {
    if !run.wants("many") {
        return;
    }
    let table = Database::migrated_on(&run.url);
    fill(&mut table.connect(), &[Rows { name: "others", sessions: run.rows() / 10, links: 10 }]);
    let mut contenders: Vec<_> = SIZES
        .into_iter()
        .map(|(name, size)| {
            let mut conn = table.connect();
            let live: Vec<TokenHash> = (0..size).map(|_| log_in(&mut conn)).collect();
            let mut workers = [(conn, live)];
            Contender::new(name, move |duration| {
                let mut measured = in_threads(&mut workers, duration, |(conn, live)| rotate_all(conn, live));
                measured.per_second *= f64::from(u32::try_from(size).unwrap_or(u32::MAX));
                measured
            })
        })
        .collect();
    let mut conn = table.connect();
    let live = log_in(&mut conn);
    let mut alone = [(conn, live)];
    contenders.push(Contender::new("rotate, one by one", move |duration| {
        in_threads(&mut alone, duration, |(conn, live)| {
            let next = Next::new();
            assert_eq!(contenders::ours(conn, live, &next), Ok(true), "a live token");
            *live = next.hash;
        })
    }));
    run.race("many", contenders);
}

fn rotate_all(conn: &mut PgConnection, live: &mut Vec<TokenHash>) {
    let requests: Vec<_> = live.drain(..).map(|hash| RotationRequest::new(hash, successor())).collect();
    let outcomes = RefreshTokenRepository::new(conn).rotate_many(&requests).expect("the connection stands");
    live.extend(outcomes.into_iter().map(|outcome| match outcome {
        Ok(Rotation::Rotated(token)) => token.token_hash,
        other => panic!("a live token: {other:?}"),
    }));
}
