//! Many worker threads, two connections: one `GroupRotator`, what to answer when it is full, and how to stop.
//!
//! Paste `refresh`. Run it: `cargo run --example group_rotator`.

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::thread;
use std::time::{Duration, Instant};

use refresh_tokens::{
    Binding, Error, GroupConfig, GroupRotator, OnReuse, Redemption, RefreshToken, RefreshTokenStore, StoreConfig,
    Successor, TokenHash,
};
use refresh_tokens_support::{Database, doc};

/// What the web framework is to answer.
enum Answer {
    /// 200, with the successor's secret.
    Refreshed(Box<RefreshToken>),
    /// 400 `invalid_grant` (RFC 6749 §5.2).
    InvalidGrant,
    /// 503 with a `Retry-After`.
    Overloaded,
}

/// The refresh endpoint. Whoever calls it blocks until its own request is committed, with whomever it shared the way.
fn refresh(group: &GroupRotator, presented: &TokenHash, successor: &Successor) -> Result<Answer, Error> {
    match group.redeem(presented, successor, Binding::ANY, OnReuse::EndSession) {
        Ok(Redemption::Rotated { token, .. } | Redemption::Repeated { token, .. }) => {
            Ok(Answer::Refreshed(Box::new(token)))
        }
        Ok(_) => Ok(Answer::InvalidGrant),
        // Nothing was sent. To wait longer would only make the queue longer.
        Err(Error::QueueFull { .. } | Error::Busy(_) | Error::PoolExhausted { .. }) => Ok(Answer::Overloaded),
        // ConnectionLost: the client sends the same request again, and so do you, with the same successor.
        Err(error) => Err(error),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const WORKERS: usize = 64;
    const ROTATIONS: u32 = 50;
    let database = Database::migrated();
    let store = RefreshTokenStore::connect(database.url(), &StoreConfig::default().max_connections(2))?;
    let logins = (0..WORKERS).map(|_| store.create(&doc::new_token())).collect::<Result<Vec<_>, _>>()?;
    let config = GroupConfig::default().connections(2).max_queue(256).queue_timeout(Duration::from_secs(2));
    let group = GroupRotator::new(store.clone(), &config);

    let began = Instant::now();
    let last: Vec<Result<RefreshToken, String>> = thread::scope(|scope| {
        let client = |mut token: RefreshToken| {
            for _ in 0..ROTATIONS {
                match refresh(&group, &token.token_hash, &doc::successor()) {
                    Ok(Answer::Refreshed(successor)) => token = *successor,
                    Ok(Answer::InvalidGrant) => return Err("nobody else has this token".to_owned()),
                    Ok(Answer::Overloaded) => return Err("there is room for all".to_owned()),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(token)
        };
        let workers: Vec<_> = logins.into_iter().map(|token| scope.spawn(move || client(token))).collect();
        let panicked = |_| Err("a worker panicked".to_owned());
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).collect()
    });
    for token in last {
        assert_eq!(token?.generation, i32::try_from(ROTATIONS)?);
    }
    println!(
        "{WORKERS} threads have rotated {ROTATIONS} times each, on {} connections, in {:.0?}.",
        store.pool().state().connections,
        began.elapsed()
    );

    // Before the process ends: nobody is let in any more, and everybody inside has an answer when this returns.
    group.shutdown();
    let late = refresh(&group, &doc::fresh_hash(), &doc::successor());
    assert!(matches!(late, Err(Error::GroupShutDown)));
    println!("The group is shut down; the store goes on.");
    Ok(())
}
