//! What stands in the place of `observe` without its features: nothing that is left after compilation.

use std::marker::PhantomData;

use uuid::Uuid;

use crate::binding::Binding;
use crate::error::{Error, Result};
use crate::models::RefreshToken;

/// What a call is about.
pub(crate) struct Ids(PhantomData<Uuid>);

impl Ids {
    pub(crate) const NONE: Self = Self(PhantomData);

    pub(crate) const fn token(_: Uuid) -> Self {
        Self::NONE
    }

    pub(crate) const fn session(_: Uuid) -> Self {
        Self::NONE
    }

    pub(crate) const fn user(_: Uuid) -> Self {
        Self::NONE
    }

    pub(crate) const fn org(_: Uuid) -> Self {
        Self::NONE
    }

    pub(crate) const fn bound(_: Binding) -> Self {
        Self::NONE
    }

    pub(crate) const fn and(self, _: Self) -> Self {
        self
    }
}

impl From<&RefreshToken> for Ids {
    fn from(_: &RefreshToken) -> Self {
        Self::NONE
    }
}

#[inline]
pub(crate) fn observed<T>(_: &'static str, _: Ids, work: impl FnOnce() -> Result<T>) -> Result<T> {
    work()
}

#[inline]
pub(crate) fn observed_transaction<T, E>(
    _: &'static str,
    _: impl FnOnce(&E) -> Option<&Error>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    work()
}

#[inline]
pub(crate) fn locking<T>(_: &'static str, statement: impl FnOnce() -> T) -> T {
    statement()
}

#[inline]
pub(crate) fn waiting_for_pool<T>(take: impl FnOnce() -> T) -> T {
    take()
}

#[inline]
pub(crate) const fn not_begun(_: &'static str, _: &Error) {}

#[inline]
pub(crate) const fn made_again() {}

#[inline]
pub(crate) const fn batch(_: usize) {}
