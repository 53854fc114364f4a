//! Which token a step means, once it is reached: so that rare situations are found, not waited for.

use super::rules::{Model, Row};
use super::step::{Name, Pick};

impl Model {
    /// The token that is meant; `presented` is what the step rotates, if it does.
    pub(super) fn pick(&self, pick: Pick, presented: Option<Name>) -> Name {
        let fresh = Name(self.born);
        let born = |n| match self.born {
            0 => Name::NOBODY,
            count => Name(u32::from(n) % count),
        };
        match pick {
            Pick::Fresh => fresh,
            Pick::Made => presented.and_then(|token| self.lineage.get(&token).copied()).unwrap_or(fresh),
            Pick::Present(n) => self.nth(n, |_, _| true).unwrap_or(fresh),
            Pick::Valid(n) => self.nth(n, |_, row| row.is_valid()).unwrap_or_else(|| born(n)),
            Pick::Spent(n) => self.nth(n, |_, row| row.rotated_to.is_some()).unwrap_or_else(|| born(n)),
            Pick::Middle(n) => {
                let has_parent = |name| self.rows.values().any(|row| row.rotated_to == Some(name));
                let is_middle = |name, row: &Row| row.rotated_to.is_some() && has_parent(name);
                self.nth(n, is_middle).unwrap_or_else(|| born(n))
            }
            Pick::BeforeGap(n) => {
                let is_unrevoked = |name| self.rows.get(&name).is_some_and(|row| row.revoked.is_none());
                let is_before_gap = |_, row: &Row| {
                    row.rotated_to.is_some_and(|next| {
                        !self.rows.contains_key(&next) && self.descendants(next).into_iter().any(is_unrevoked)
                    })
                };
                self.nth(n, is_before_gap).unwrap_or_else(|| born(n))
            }
            Pick::Born(n) => born(n),
            Pick::Nobody => Name::NOBODY,
        }
    }

    fn nth(&self, n: u8, kind: impl Fn(Name, &Row) -> bool) -> Option<Name> {
        let names = self.names(kind);
        names.get(usize::from(n) % names.len().max(1)).copied()
    }
}
