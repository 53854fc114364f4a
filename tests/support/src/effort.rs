//! How much of what is exhaustive a run takes: all of it, or a sample that is another one each day.
//!
//! The scripts set `REFRESH_TOKENS_EFFORT`; without, it is that of `scripts/test`. A sample is one of so many parts, and every
//! case is in just one of them. The seed says which part: without `REFRESH_TOKENS_SEED` it is the number of the day, so that
//! on consecutive days nothing is left out.

use std::fmt::{Display, Formatter};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

const EFFORT: &str = "REFRESH_TOKENS_EFFORT";
const SEED: &str = "REFRESH_TOKENS_SEED";

/// Which script runs the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// `scripts/test quick`: before each commit.
    Quick,
    /// `scripts/test`, and plain `cargo test`.
    Test,
    /// `scripts/proof`: all that there is.
    Proof,
}

impl Effort {
    /// That of this run.
    ///
    /// # Panics
    ///
    /// If the environment asks for one that does not exist.
    pub fn now() -> Self {
        let asked = std::env::var(EFFORT).unwrap_or_default();
        Self::named(&asked).unwrap_or_else(|| panic!("{EFFORT} is {asked:?}, and not quick, test or proof"))
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "quick" => Some(Self::Quick),
            "" | "test" => Some(Self::Test),
            "proof" => Some(Self::Proof),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Test => "test",
            Self::Proof => "proof",
        }
    }

    /// How much it is of what has no end, such as the calls of a storm whose draws are others each time.
    pub fn pick<T>(self, quick: T, test: T, proof: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Test => test,
            Self::Proof => proof,
        }
    }
}

/// The seed of this run's samples.
///
/// # Panics
///
/// If the environment gives one that is no number.
pub fn seed() -> u64 {
    static TAKEN: OnceLock<u64> = OnceLock::new(); // not another one after midnight
    *TAKEN.get_or_init(|| match std::env::var(SEED) {
        Ok(given) if !given.is_empty() => {
            given.parse().unwrap_or_else(|_| panic!("{SEED} is {given:?}, and not a number"))
        }
        _ => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400),
    })
}

/// One part of what a test would have to take for its proof. Where the test fails, it says how to take the same part again.
#[derive(Debug)]
pub struct Sample {
    effort: Effort,
    parts: usize,
    seed: u64,
    /// How many parts it is itself a part of, each of which has a turn before this one has its next.
    round: u64,
}

impl Sample {
    /// One of so many parts; in proof, of one.
    pub fn new(quick: usize, test: usize) -> Self {
        let effort = Effort::now();
        Self { effort, parts: effort.pick(quick, test, 1), seed: seed(), round: 1 }
    }

    /// A sample within what this one takes: of so many parts of a part.
    #[must_use]
    pub fn within(&self, quick: usize, test: usize) -> Self {
        let parts = self.effort.pick(quick, test, 1);
        Self { effort: self.effort, parts, seed: self.seed, round: self.round * self.parts as u64 }
    }

    /// All there is, whatever the effort.
    pub fn whole() -> Self {
        Self { effort: Effort::now(), parts: 1, seed: seed(), round: 1 }
    }

    /// Whether it takes the case of this number among those of a name. Of as many consecutive numbers as there are parts,
    /// it takes one.
    pub fn takes(&self, name: &str, number: usize) -> bool {
        let place = u128::from(hash(name)) + u128::from(self.seed / self.round) + number as u128;
        place.is_multiple_of(self.parts as u128)
    }

    /// Whether nothing is left out.
    pub fn is_whole(&self) -> bool {
        self.all_parts() == 1
    }

    /// How much it must have come to, where the whole comes to so much: chance has a third of it.
    pub fn at_least(&self, whole: usize) -> usize {
        let parts = self.all_parts();
        if parts == 1 { whole } else { whole * 2 / (parts * 3) }
    }

    fn all_parts(&self) -> usize {
        usize::try_from(self.round).unwrap_or(usize::MAX).saturating_mul(self.parts)
    }
}

impl Display for Sample {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if self.is_whole() {
            return f.write_str("all");
        }
        write!(f, "one part of {}, {SEED}={}", self.all_parts(), self.seed)
    }
}

impl Drop for Sample {
    #[expect(clippy::print_stderr, reason = "a test that fails says how it is repeated")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{self}; the same again: {}", replay(self.effort, self.seed));
        }
    }
}

fn replay(effort: Effort, seed: u64) -> String {
    format!("{EFFORT}={} {SEED}={seed} cargo test", effort.name())
}

/// FNV-1a: the same on every machine and with every compiler.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(effort: Effort, parts: usize, seed: u64) -> Sample {
        Sample { effort, parts, seed, round: 1 }
    }

    #[test]
    fn as_many_days_as_there_are_parts_take_each_case_once() {
        for parts in [1, 2, 7, 64] {
            for name in ["rotate", "revoke_all_for_user", ""] {
                for number in 0..200 {
                    let days = 20_000..20_000 + parts as u64;
                    let takes = |seed: &u64| of(Effort::Test, parts, *seed).takes(name, number);
                    assert_eq!(days.filter(takes).count(), 1, "{name} {number} of {parts}");
                }
            }
        }
    }

    #[test]
    fn a_sample_within_a_sample_leaves_nothing_out_either() {
        for (outer, inner) in (0..6).flat_map(|outer| (0..20).map(move |inner| (outer, inner))) {
            let takes = |seed: &u64| {
                let sample = of(Effort::Test, 3, *seed);
                sample.takes("outer", outer) && sample.within(9, 4).takes("inner", inner)
            };
            assert_eq!((20_003..20_015).filter(takes).count(), 1, "{outer} {inner}");
        }
        assert_eq!(of(Effort::Test, 3, 20_003).within(9, 4).at_least(180), 10);
    }

    #[test]
    fn of_consecutive_cases_each_part_has_its_share() {
        let sample = of(Effort::Test, 8, u64::MAX);
        for from in 0..50 {
            assert_eq!((from..from + 8).filter(|number| sample.takes("rotate", *number)).count(), 1);
        }
    }

    #[test]
    fn a_sample_says_how_it_is_taken_again() {
        let sample = of(Effort::Quick, 8, 20_421);
        assert_eq!(sample.to_string(), "one part of 8, REFRESH_TOKENS_SEED=20421");
        assert!(
            replay(sample.effort, sample.seed).starts_with("REFRESH_TOKENS_EFFORT=quick REFRESH_TOKENS_SEED=20421 ")
        );
        assert_eq!((sample.at_least(300), sample.is_whole()), (25, false));
        let whole = of(Effort::Proof, Effort::Proof.pick(40, 8, 1), 0);
        assert_eq!((whole.at_least(300), whole.is_whole(), whole.to_string()), (300, true, "all".to_owned()));
    }

    #[test]
    fn an_effort_that_does_not_exist_is_none() {
        for effort in [Effort::Quick, Effort::Test, Effort::Proof] {
            assert_eq!(Effort::named(effort.name()), Some(effort));
        }
        assert_eq!((Effort::named(""), Effort::named("prof")), (Some(Effort::Test), None));
    }
}
