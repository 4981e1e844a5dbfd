//! The house rules that neither the compiler nor cargo-deny can hold: who may name what, the layout, the budgets.
//!
//! Every rule is a function from sources to breaches. One test asks it about this checkout, another shows it a breach.

#[cfg(test)]
#[path = "architecture/budgets.rs"]
mod budgets;
#[cfg(test)]
#[path = "architecture/layout.rs"]
mod layout;
#[cfg(test)]
#[path = "architecture/naming.rs"]
mod naming;
#[cfg(test)]
#[path = "architecture/sources.rs"]
mod sources;
