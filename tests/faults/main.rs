//! Faults on the wire, exhaustively: a wire of the tests' own between the pooled store and a private server cuts, silences,
//! holds or refuses at each message of each verb, one after the other. What was answered is held against the table.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

mod batch;
mod bounds;
mod cases;
mod covered;
mod cut;
mod delay;
mod fixture;
mod jobs;
mod lab;
mod refuse;
mod schema;
mod silence;

#[expect(clippy::print_stdout, reason = "how many faults there were is the result")]
fn print(text: &str) {
    println!("{text}");
}
