//! What is done, in numbers that are taken modulo what there is.

use arbitrary::{Arbitrary, Result, Unstructured};
use refresh_tokens::{OnReuse, SessionLimit};

/// Longer sequences find nothing that these do not, and take longer.
const STEPS: usize = 40;

#[derive(Debug)]
pub(crate) struct Draw {
    pub(crate) rules: Rules,
    pub(crate) steps: Vec<Step>,
}

/// The policy of a run.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) has_grace: bool,
    pub(crate) on_reuse: OnReuse,
    pub(crate) limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    None,
    Refuse,
    EndOldest,
}

impl Limit {
    pub(crate) const MAX: u32 = 2;

    pub(crate) fn of_policy(self) -> Option<SessionLimit> {
        match self {
            Self::None => None,
            Self::Refuse => Some(SessionLimit::refuse(Self::MAX)),
            Self::EndOldest => Some(SessionLimit::end_oldest(Self::MAX)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Step {
    /// Which of the two nodes is asked.
    pub(crate) behind: bool,
    pub(crate) call: Call,
}

#[derive(Debug)]
pub(crate) enum Call {
    /// `early`: the user was authenticated before the run began.
    StartSession {
        user: u8,
        org: u8,
        early: bool,
    },
    Refresh {
        secret: Secret,
        binding: Whom,
    },
    SwitchOrg {
        secret: Secret,
        org: u8,
        binding: Whom,
    },
    LookUp {
        secret: Secret,
        binding: Whom,
    },
    EndSession(Secret),
    EndSessionOf {
        user: u8,
        session: u8,
    },
    EndOtherSessions {
        user: u8,
        session: u8,
    },
    EndAllSessions {
        user: u8,
    },
}

#[derive(Debug)]
pub(crate) enum Secret {
    /// 0 is the newest of the session, 1 its immediate predecessor.
    Known {
        session: u8,
        age: u8,
    },
    /// One character is another.
    Damaged {
        session: u8,
        age: u8,
        place: u8,
    },
    /// Of a pepper of the service, but never issued.
    Unknown,
    UnknownKey,
}

#[derive(Debug)]
pub(crate) enum Whom {
    Anybody,
    /// Whose the secret is.
    Owner,
    OwnerInOrg(u8),
    User(u8),
    AnyOfOrg(u8),
    Stranger,
    Nil,
}

impl<'a> Arbitrary<'a> for Draw {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let mut draw = Self { rules: bytes.arbitrary()?, steps: Vec::new() };
        while !bytes.is_empty() && draw.steps.len() < STEPS {
            draw.steps.push(bytes.arbitrary()?);
        }
        Ok(draw)
    }
}

impl<'a> Arbitrary<'a> for Rules {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let [grace, response, limit]: [u8; 3] = bytes.arbitrary()?;
        let on_reuse = match response % 8 {
            4 => OnReuse::EndSession,
            5 => OnReuse::RevokeChain,
            6 => OnReuse::RevokeUser,
            7 => OnReuse::ReportOnly,
            _ => OnReuse::default(),
        };
        let limit = match limit % 8 {
            6 => Limit::Refuse,
            7 => Limit::EndOldest,
            _ => Limit::None,
        };
        Ok(Self { has_grace: grace % 4 != 3, on_reuse, limit })
    }
}

/// A byte for each choice, always in the same place, so that a small change of the input is one of the sequence. What leads
/// far is drawn often: derived, most sequences would end all sessions at once.
impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let [call, session, age, whom, other]: [u8; 5] = bytes.arbitrary()?;
        let secret = match age % 32 {
            28 => Secret::Unknown,
            29 => Secret::UnknownKey,
            30.. => Secret::Damaged { session, age: age / 32, place: other },
            // The newest one half of the time, then its predecessor.
            age => Secret::Known { session, age: [0, 0, 0, 0, 1, 1, 2, 3][usize::from(age % 8)] },
        };
        let binding = match whom % 16 {
            8..11 => Whom::Owner,
            11 | 12 => Whom::OwnerInOrg(whom / 16),
            13 => Whom::User(whom / 16),
            14 => Whom::AnyOfOrg(whom / 16),
            15 if whom / 16 % 4 == 3 => Whom::Nil,
            15 => Whom::Stranger,
            _ => Whom::Anybody,
        };
        let call_of = match call / 2 % 32 {
            0..16 => Call::Refresh { secret, binding },
            16..21 => Call::SwitchOrg { secret, org: other, binding },
            21..25 => Call::StartSession { user: session, org: other, early: age % 4 == 0 },
            25..28 => Call::LookUp { secret, binding },
            28 => Call::EndSession(secret),
            29 => Call::EndSessionOf { user: other, session },
            30 => Call::EndOtherSessions { user: other, session },
            _ => Call::EndAllSessions { user: session },
        };
        Ok(Self { behind: call % 2 == 1, call: call_of })
    }
}
