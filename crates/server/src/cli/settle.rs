//! `busgate ack`.

use std::{fmt::Write, process::ExitCode, time::Duration};

use busgate_core::{AckStatus, Error, Nack, Result, SettleAction, SettleRequest, url::parse_duration};

use super::{FAILED, args::Ack, client::connect, say};
use crate::config::Environment;

/// Settles, and says what became of each; exit 1 when one could not be settled.
pub(super) async fn run(ack: Ack, environment: &Environment) -> Result<ExitCode> {
    let action = action(&ack)?;
    let client = connect(&ack.target, environment).await?;
    let request = |ack_id: &String| SettleRequest { ack_id: ack_id.clone(), action: action.clone() };
    let settled = client.settle_ids(ack.ack_ids.iter().map(request).collect()).await?;
    let mut lines = String::new();
    let mut all = true;
    for (ack_id, answer) in ack.ack_ids.iter().zip(settled) {
        let done = matches!(
            answer.status,
            AckStatus::Acked | AckStatus::Nacked | AckStatus::Rejected | AckStatus::Extended
        );
        all &= done;
        _ = writeln!(lines, "{}\t{ack_id}\t{}", answer.status.as_str(), answer.message.unwrap_or_default());
    }
    let said = say(&lines);
    Ok(if all { said } else { ExitCode::from(FAILED) })
}

fn action(ack: &Ack) -> Result<SettleAction> {
    let delay = ack.retry_after.as_deref().map(|text| time("--retry-after", text)).transpose()?;
    if let Some(extend) = &ack.extend {
        return Ok(SettleAction::Extend(time("--extend", extend)?));
    }
    if ack.reject {
        return Ok(SettleAction::Reject { reason: ack.error.clone().unwrap_or_default() });
    }
    if delay.is_some() || ack.error.is_some() {
        return Ok(SettleAction::Nack(Nack { delay, error: ack.error.clone() }));
    }
    Ok(SettleAction::Ack)
}

fn time(flag: &str, text: &str) -> Result<Duration> {
    let refused = || Error::invalid(format!("{flag} {text} must be a duration, like 500ms, 30s or 5m"));
    parse_duration(text).ok_or_else(refused)
}
