//! The variants beside each other: what rotations write, what the rows take, and what they cost to find.

use diesel::connection::SimpleConnection;

use crate::Run;
use crate::load::{LONG_SESSIONS, Load, Rows};
use crate::questions::{OF_A_TENANT, OF_OLD_ROWS, OF_THE_LONG_HISTORY, Question, ROTATE};
use crate::report::{Report, bytes, cost, percent};
use crate::subject::{Relation, Rotated, Subject, ratio};
use crate::variants::{TODAY, VARIANTS};

const ROWS: i32 = 1_000_000;
const FEW_ROWS: i32 = 3_000;

/// Rows of the user with the long history.
const LONG_HISTORY: i32 = 10_000;
const SHORT_HISTORY: i32 = 200;

/// Percent of the live tokens that are rotated without page images, and as many with them.
const COUNTED: usize = 40;

pub(crate) fn compare(run: &Run, report: &mut Report) {
    if !VARIANTS.iter().any(|variant| run.wants(variant.name)) {
        return;
    }
    // What the others are measured by is always there.
    let wanted = VARIANTS.iter().filter(|variant| variant.name == TODAY.name || run.wants(variant.name));
    let (rows, history) = if run.measures { (ROWS, LONG_HISTORY) } else { (FEW_ROWS, SHORT_HISTORY) };
    let load = Load { rows: run.rows.unwrap_or(rows), long: history / LONG_SESSIONS };
    eprintln!("{} rows …", load.all_rows());
    let made = Rows::make(&run.url, load);
    let mut subjects = Vec::new();
    let (mut rotations, mut sizes) = (Vec::new(), Vec::new());
    for variant in wanted {
        eprintln!("{} …", variant.name);
        let mut subject = Subject::fill(&run.url, &made, load, variant);
        let relations = subject.relations();
        let spread = subject.rotate_spread(COUNTED);
        let with_images = subject.rotate_spread_with_images(COUNTED);
        let dense = subject.rotate_dense();
        let beside_a_snapshot = subject.rotate_dense_beside_a_snapshot();
        subject.conn.batch_execute("VACUUM refresh_tokens").expect("the role owns the table");
        rotations.push(vec![
            variant.name.to_owned(),
            percent(spread.hot),
            percent(dense.hot),
            percent(beside_a_snapshot.hot),
            bytes(spread.wal_bytes),
            with_images.map_or_else(String::new, |with_images| bytes(with_images.wal_bytes)),
        ]);
        sizes.push(size_row(variant.name, &relations, load, dense));
        subjects.push(subject);
    }
    drop(made);

    let times = ask(&ROTATE, &mut subjects, run.measures);
    rotations.iter_mut().zip(times).for_each(|(row, time)| row.push(time));
    let header =
        ["variant", "HOT", "HOT, full pages", "HOT beside a snapshot", "WAL bytes", "with page images", "time"];
    report.table("A rotation", &header, &rotations);
    let header = ["variant", "heap", "heap by rotations", "id", "token_hash", "the other indexes", "all"];
    report.table("Bytes per row", &header, &sizes);
    for (title, questions) in [
        ("A user with 10,000 old rows", &OF_THE_LONG_HISTORY[..]),
        ("Deleting", &OF_OLD_ROWS[..]),
        ("Closing one tenant of a hundred", &OF_A_TENANT[..]),
    ] {
        let mut header = vec!["variant"];
        let mut rows: Vec<_> = subjects.iter().map(|subject| vec![subject.variant.name.to_owned()]).collect();
        for question in questions {
            header.push(question.name);
            let times = ask(question, &mut subjects, run.measures);
            rows.iter_mut().zip(times).for_each(|(row, time)| row.push(time));
        }
        rows.retain(|row| row[1..].iter().any(|cell| !cell.is_empty()));
        report.table(title, &header, &rows);
    }
}

/// Empty where the variant has no answer.
fn ask(question: &Question, subjects: &mut [Subject], measures: bool) -> Vec<String> {
    eprintln!("{} …", question.name);
    let answers = question.ask(subjects, measures);
    let first = answers[0].as_deref();
    let others = answers[1..].iter().map(|these| cost(these.as_deref(), first));
    [cost(first, None)].into_iter().chain(others).collect()
}

/// The heap as the fill made it, of rows that were spent when they were written; and by how much it grew for each
/// rotation, which writes a row and then spends it.
fn size_row(name: &str, relations: &[Relation], load: Load, dense: Rotated) -> Vec<String> {
    let of = |relation: &Relation| ratio(relation.bytes, i64::from(load.all_rows()));
    let named = |name: &str| relations.iter().find(|relation| relation.name == name).map_or(0.0, of);
    let others = |relation: &&Relation| !["heap", "(id)", "(token_hash)"].contains(&relation.name.as_str());
    let others: Vec<_> =
        relations.iter().filter(others).map(|other| format!("{} {:.0}", other.name, of(other))).collect();
    vec![
        name.to_owned(),
        bytes(named("heap")),
        bytes(dense.heap_bytes),
        bytes(named("(id)")),
        bytes(named("(token_hash)")),
        others.join(", "),
        bytes(relations.iter().map(of).sum()),
    ]
}
