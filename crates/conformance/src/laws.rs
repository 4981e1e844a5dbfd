//! The laws, by what they are about. Each is named so that it reads as what must hold.

pub mod broadcast;
pub mod cancel;
pub mod consumer;
pub mod dead_letter;
pub mod dedup;
pub mod find;
pub mod flow;
pub mod gap;
pub mod keys;
pub mod lease;
pub mod lifecycle;
pub mod node;
pub mod order;
pub mod page;
pub mod passed;
pub mod payload;
pub mod pool;
pub mod publish;
pub mod random;
pub mod recovery;
pub mod refusal;
pub mod replay;
pub mod restart;
pub mod settle;
pub mod token;
pub mod wake;
