//! Any sequence of the service's calls, on a real server, gives the answers of a small model in memory.
//!
//! After each call its answer and the live tokens in the table are compared with the model's, so that a session never has
//! two live tokens, and one that has ended never issues another. Two nodes take turns, of which each has the other's
//! pepper as its older one. The server is found, or started, as for the tests; all runs share one schema, each with users
//! of its own. On a server that stays, the tests sweep the schema away after an hour.

#![no_main]

mod draw;
mod world;

use libfuzzer_sys::fuzz_target;

use draw::{Call, Draw, Step};
use world::World;

fuzz_target!(|draw: Draw| {
    let mut world = World::new(&draw.rules);
    // Without a session there is little to do.
    world.take(&Step { behind: false, call: Call::StartSession { user: 0, org: 0, early: false } });
    for step in &draw.steps {
        world.take(step);
        world.compare_tables();
    }
    world.compare_counts();
});
