//! What the benches share: the server, tables with rows in them, and contenders compared in one run.

mod comparison;
mod quartiles;
mod table;

pub(crate) use comparison::{Case, Comparison, Contender};
pub(crate) use table::{Rows, fill};
