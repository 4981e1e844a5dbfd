//! Rules by principal: verb × event pattern.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{Authorizer, Operation, denied};
use crate::{Caller, Pattern, Result};

/// Allows some operations on the events of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is allowed.
    pub operations: Vec<Operation>,
    /// On which events.
    pub events: Pattern,
}

/// Rules by principal; what no rule allows is denied.
#[derive(Clone, Debug, Default)]
pub struct Rules(HashMap<String, Vec<Rule>>);

impl Rules {
    /// No rules: everything is denied.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule for the principal with this name.
    pub fn allow(&mut self, principal: impl Into<String>, rule: Rule) {
        self.0.entry(principal.into()).or_default().push(rule);
    }

    fn allows(&self, caller: &Caller, operation: Operation, target: &Pattern) -> bool {
        let rules = self.0.get(caller.name()).map(Vec::as_slice).unwrap_or_default();
        rules.iter().any(|rule| rule.operations.contains(&operation) && rule.events.covers(target))
    }
}

#[async_trait]
impl Authorizer for Rules {
    async fn authorize(&self, caller: &Caller, operation: Operation, target: &Pattern) -> Result<()> {
        if self.allows(caller, operation, target) {
            return Ok(());
        }
        Err(denied(caller, operation, target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let mut rules = Rules::new();
        let rule = Rule { operations: vec![Operation::Subscribe], events: Pattern::new("orders.>").unwrap() };
        rules.allow("shop", rule);
        rules
    }

    async fn may(principal: &str, operation: Operation, target: &str) -> bool {
        let target = Pattern::new(target).unwrap();
        rules().authorize(&Caller::principal(principal), operation, &target).await.is_ok()
    }

    #[tokio::test]
    async fn what_no_rule_allows_is_denied() {
        assert!(may("shop", Operation::Subscribe, "orders.created").await);
        assert!(!may("shop", Operation::Publish, "orders.created").await);
        assert!(!may("shop", Operation::Subscribe, "users.created").await);
        assert!(!may("other", Operation::Subscribe, "orders.created").await);
    }

    #[tokio::test]
    async fn a_pattern_is_allowed_only_when_all_it_stands_for_is() {
        assert!(may("shop", Operation::Subscribe, "orders.*").await);
        assert!(may("shop", Operation::Subscribe, "orders.>").await);
        assert!(!may("shop", Operation::Subscribe, ">").await);
        assert!(!may("shop", Operation::Subscribe, "*.created").await);
    }

    #[tokio::test]
    async fn a_wide_rule_leaves_the_gateways_own_events_out() {
        let mut rules = Rules::new();
        rules.allow(
            "all",
            Rule { operations: vec![Operation::Subscribe], events: Pattern::new(">").unwrap() },
        );
        let own = Pattern::new("_dlq.orders").unwrap();
        assert!(rules.authorize(&Caller::principal("all"), Operation::Subscribe, &own).await.is_err());
    }
}
