//! Many more callers than connections: the pooled store beside the group rotator.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use refresh_tokens::{
    Binding, GroupConfig, GroupRotator, RefreshTokenStore, Result, Rotation, StoreConfig, Successor, TokenHash,
};
use refresh_tokens_support::Database;
use refresh_tokens_support::doc::successor;

use crate::proxy::Proxy;
use crate::rounds::{Contender, Measured, Run};
use crate::table::{Rows, fill};
use crate::threads::log_in;

const CALLERS: usize = 64;
/// Nobody is to give up in a queue that is long on purpose.
const PATIENCE: Duration = Duration::from_secs(120);

fn store(url: &str, connections: u32) -> RefreshTokenStore {
    let config = StoreConfig::default().max_connections(connections).pool_timeout(PATIENCE);
    RefreshTokenStore::connect(url, &config.lock_timeout(PATIENCE).statement_timeout(PATIENCE)).expect("it answers")
}

fn group(url: &str, connections: u32) -> GroupRotator {
    let config = GroupConfig::default().connections(connections as usize).queue_timeout(PATIENCE);
    GroupRotator::new(store(url, connections), &config)
}

fn table(run: &Run) -> Database {
    let table = Database::migrated_on(&run.url);
    fill(&mut table.connect(), &[Rows { name: "others", sessions: run.rows() / 10, links: 10 }]);
    table
}

fn log_ins(table: &Database, number: usize) -> Vec<TokenHash> {
    let mut conn = table.connect();
    (0..number).map(|_| log_in(&mut conn)).collect()
}

/// Callers with a session each who rotate again and again, and how long each call takes.
fn crowd<'a>(
    table: &Database,
    callers: usize,
    rotate: impl Fn(&TokenHash, &Successor) -> Result<Rotation> + Sync + 'a,
) -> impl FnMut(Duration) -> Measured + 'a {
    let mut live = log_ins(table, callers);
    move |duration| {
        let barrier = Barrier::new(live.len());
        let by_caller: Vec<(f64, Vec<f64>)> = thread::scope(|scope| {
            let threads: Vec<_> = live
                .iter_mut()
                .map(|live| {
                    let (barrier, rotate) = (&barrier, &rotate);
                    scope.spawn(move || {
                        barrier.wait();
                        let began = Instant::now();
                        let mut latencies = Vec::new();
                        while began.elapsed() < duration {
                            let next = successor();
                            let asked = Instant::now();
                            match rotate(live, &next) {
                                Ok(Rotation::Rotated(token)) => *live = token.token_hash,
                                other => panic!("a live token: {other:?}"),
                            }
                            latencies.push(asked.elapsed().as_secs_f64() * 1e3);
                        }
                        let done = f64::from(u32::try_from(latencies.len()).unwrap_or(u32::MAX));
                        (done / began.elapsed().as_secs_f64(), latencies)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("the caller has said why")).collect()
        });
        let per_second = by_caller.iter().map(|(rate, _)| rate).sum();
        Measured { per_second, latencies: by_caller.into_iter().flat_map(|(_, all)| all).collect(), note: None }
    }
}

pub(crate) fn callers(run: &mut Run) {
    if !run.wants("callers/64") {
        return;
    }
    let table = table(run);
    let (group, few, many) = (group(table.url(), 2), store(table.url(), 2), store(table.url(), 64));
    let contenders = vec![
        Contender::new(
            "group, 2 connections",
            crowd(&table, CALLERS, |live, next| group.rotate(live, next, Binding::ANY)),
        ),
        Contender::new("pool of 2", crowd(&table, CALLERS, |live, next| few.rotate(live, next, Binding::ANY))).bar(4.0),
        Contender::new("pool of 64", crowd(&table, CALLERS, |live, next| many.rotate(live, next, Binding::ANY)))
            .bar(5.0),
    ];
    run.race("callers/64", contenders);
}

pub(crate) fn alone(run: &mut Run) {
    if !run.wants("callers/1") {
        return;
    }
    let table = table(run);
    let (group, pool) = (group(table.url(), 2), store(table.url(), 2));
    let contenders = vec![
        Contender::new("group, 2 connections", crowd(&table, 1, |live, next| group.rotate(live, next, Binding::ANY))),
        Contender::new("pool of 2", crowd(&table, 1, |live, next| pool.rotate(live, next, Binding::ANY)))
            .bar(1.0 / 1.2),
    ];
    run.race("callers/1", contenders);
}

/// Both have two connections, so that the ratio is the one of each.
pub(crate) fn delayed(run: &mut Run) {
    if !run.wants("delayed/64") {
        return;
    }
    let Some(socket) = run.url.split_once("host=").map(|(_, rest)| rest.split('&').next().unwrap_or(rest)) else {
        println!("delayed/64 is left out: it needs the private server's socket");
        return;
    };
    let proxy = Proxy::start(PathBuf::from(socket).join(".s.PGSQL.5432"), Duration::from_millis(1));
    let table = table(run);
    let url = proxy.url(table.url());
    let (group, pool) = (group(&url, 2), store(&url, 2));
    let contenders = vec![
        Contender::new(
            "group, 2 connections",
            crowd(&table, CALLERS, |live, next| group.rotate(live, next, Binding::ANY)),
        ),
        Contender::new("pool of 2", crowd(&table, CALLERS, |live, next| pool.rotate(live, next, Binding::ANY)))
            .bar(10.0),
    ];
    run.race("delayed/64", contenders);
}

/// All present one token at the same instant: how often a second all have their answers, and how many connections that
/// takes.
pub(crate) fn one_token(run: &mut Run) {
    if !run.wants("one_token/64") {
        return;
    }
    let table = table(run);
    let (group, pool, grouped) = {
        let grouped = store(table.url(), 64);
        let config = GroupConfig::default().connections(2).queue_timeout(PATIENCE);
        (GroupRotator::new(grouped.clone(), &config), store(table.url(), 64), grouped)
    };
    let contenders = vec![
        Contender::new(
            "group, 2 connections",
            presented_by_all(&table, &grouped, |token, next| group.rotate(token, next, Binding::ANY)),
        ),
        Contender::new(
            "pool of 64",
            presented_by_all(&table, &pool, |token, next| pool.rotate(token, next, Binding::ANY)),
        ),
    ];
    run.race("one_token/64", contenders);
}

fn presented_by_all<'a>(
    table: &'a Database,
    pool: &'a RefreshTokenStore,
    rotate: impl Fn(&TokenHash, &Successor) -> Result<Rotation> + Sync + 'a,
) -> impl FnMut(Duration) -> Measured + 'a {
    move |duration| {
        let (mut times, mut most) = (Vec::new(), 0);
        let began = Instant::now();
        while times.is_empty() || began.elapsed() < duration {
            let token = log_ins(table, 1).remove(0);
            let (barrier, winners, busiest) = (Barrier::new(CALLERS), AtomicU32::new(0), AtomicU32::new(0));
            let span: Mutex<Option<(Instant, Instant)>> = Mutex::default();
            thread::scope(|scope| {
                for _ in 0..CALLERS {
                    scope.spawn(|| {
                        let next = successor();
                        barrier.wait();
                        let asked = Instant::now();
                        let outcome = rotate(&token, &next).expect("an outcome");
                        let answered = Instant::now();
                        let state = pool.pool().state();
                        busiest.fetch_max(state.connections - state.idle_connections, Ordering::SeqCst);
                        winners.fetch_add(u32::from(matches!(outcome, Rotation::Rotated(_))), Ordering::SeqCst);
                        let mut span = span.lock().expect("nobody panics");
                        let (first, last) = span.unwrap_or((asked, answered));
                        *span = Some((first.min(asked), last.max(answered)));
                    });
                }
            });
            assert_eq!(winners.into_inner(), 1, "successors of one token");
            let (first, last) = span.into_inner().expect("nobody panics").expect("they have asked");
            times.push((last - first).as_secs_f64() * 1e3);
            most = most.max(busiest.into_inner());
        }
        let count = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
        let per_second = count / (times.iter().sum::<f64>() / 1e3);
        let note = Some(format!("at most {most} connections in use when an answer came"));
        Measured { per_second, latencies: times, note }
    }
}
