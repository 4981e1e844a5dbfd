//! Leases: their tokens, and the subscriptions that hand them out.

mod member;
mod token;

pub(crate) use self::{member::Member, token::Entry};
