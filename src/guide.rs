#![doc = include_str!("../docs/links.md")]
#![doc = include_str!("../docs/README.md")]

// In each page the definitions of `links.md` come first, so that they count, and not those at the page's end, which
// are for whoever reads the file.

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/promises.md")]
pub mod promises {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/first_hour.md")]
pub mod first_hour {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/sessions.md")]
pub mod sessions {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/calls.md")]
pub mod calls {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/life_of_a_token.md")]
pub mod life_of_a_token {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/devices.md")]
pub mod devices {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/python_service.md")]
pub mod python_service {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/clean_up.md")]
pub mod clean_up {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/observing.md")]
pub mod observing {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/limits.md")]
pub mod limits {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/fleets.md")]
pub mod fleets {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/pgbouncer.md")]
pub mod pgbouncer {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/failover.md")]
pub mod failover {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/distributed.md")]
///
/// ## The tables
///
/// ```sql
#[doc = include_str!("../docs/distributed.sql")]
/// ```
pub mod distributed {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../docs/throughput.md")]
///
/// ### Rotations a second
///
#[doc = include_str!("../benches/throughput.svg")]
pub mod throughput {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../RUNBOOK.md")]
pub mod runbook {}

#[doc = include_str!("../docs/links.md")]
#[doc = include_str!("../ARCHITECTURE.md")]
pub mod architecture {}
