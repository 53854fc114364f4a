//! The pages that people read: their links, their length, and the legend of ARCHITECTURE.md. No database.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

mod legend;
mod links;
mod pages;
mod published;
