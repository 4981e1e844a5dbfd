//! Capabilities as laws need them: claimed and so tested, or not claimed and so refused.

use busgate_core::{ErrorKind, LeaseToken, Nack, Position, Result, Settled, Start, SubscribeOptions, Verb};

use crate::{
    Stage, Verdict,
    ask::{self, deduplicated},
};

/// A capability that can be asked for, and so be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Reading again, from the beginning or after a cursor.
    Replay,
    /// Reading again from a time.
    ReplayFromTime,
    /// Worker groups.
    WorkerPool,
    /// Unsettled messages come back.
    Redelivery,
    /// A nack's own delay.
    DelayedRequeue,
    /// Leases that run longer.
    Extend,
    /// Ids remembered.
    Dedup,
    /// Named consumers.
    Resume,
    /// Dead letters kept by the transport itself.
    DeadLetters,
}

impl Claim {
    /// Every claim.
    pub const ALL: [Self; 9] = [
        Self::Replay,
        Self::ReplayFromTime,
        Self::WorkerPool,
        Self::Redelivery,
        Self::DelayedRequeue,
        Self::Extend,
        Self::Dedup,
        Self::Resume,
        Self::DeadLetters,
    ];
}

impl Stage {
    /// Whether all of these are claimed. The first one that is not is checked to be refused, so that a law which can't
    /// run here has shown something all the same.
    ///
    /// # Errors
    /// When what is not claimed is not refused.
    pub async fn claims(&self, claims: &[Claim]) -> Verdict<bool> {
        for claim in claims {
            if !self.claimed(*claim) {
                self.refuses(*claim).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the transport claims it.
    #[must_use]
    pub fn claimed(&self, claim: Claim) -> bool {
        let can = self.capabilities();
        match claim {
            Claim::Replay => can.replay,
            Claim::ReplayFromTime => can.replay_from_time,
            Claim::WorkerPool => can.worker_pool,
            Claim::Redelivery => can.redelivery,
            Claim::DelayedRequeue => can.delayed_requeue,
            Claim::Extend => can.extend,
            Claim::Dedup => can.dedup,
            Claim::Resume => can.resume,
            Claim::DeadLetters => can.dead_letters,
        }
    }

    /// Checks that asking for it is answered `unsupported`.
    ///
    /// # Errors
    /// When it is answered otherwise.
    pub async fn refuses(&self, claim: Claim) -> Verdict {
        match claim {
            Claim::Replay => {
                self.refuses_to_subscribe(ask::from(Start::Beginning)).await?;
                self.refuses_to_read().await
            }
            Claim::ReplayFromTime => self.refuses_to_subscribe(ask::from(Start::At(self.now()))).await,
            Claim::WorkerPool => self.refuses_to_subscribe(ask::pool()?).await,
            Claim::Resume => self.refuses_to_subscribe(ask::consumer("reader")?).await,
            Claim::Redelivery => self.refuses_to_settle(Verb::Nack(Nack::default())).await,
            Claim::DelayedRequeue => {
                let delay = Some(self.pace().short);
                self.refuses_to_settle(Verb::Nack(Nack { delay, error: None })).await
            }
            Claim::Extend => self.refuses_to_settle(Verb::Extend(self.pace().short)).await,
            Claim::DeadLetters => self.refuses_to_settle(Verb::Reject { reason: "no".into() }).await,
            Claim::Dedup => {
                let config = deduplicated(self.pace().patience);
                let answer = self.transport().register(&self.name()?, &config).await;
                refused("a deduplication window", &answer)
            }
        }
    }

    async fn refuses_to_subscribe(&self, options: SubscribeOptions) -> Verdict {
        let event = self.event().await?;
        let what = format!("{:?} from {:?}", options.mode, options.start);
        refused(&what, &self.try_subscribe(&event, options).await)
    }

    async fn refuses_to_read(&self) -> Verdict {
        let event = self.event().await?;
        refused("reading", &self.try_page(&event, Start::Beginning, 10).await)?;
        let place = Position::before(1, &event, 2).to_cursor()?;
        refused("finding", &self.transport().find(&event, &place).await)
    }

    async fn refuses_to_settle(&self, verb: Verb) -> Verdict {
        let Some((token, mut watch)) = self.leased().await? else { return self.refuses_leases().await };
        let what = format!("{verb:?}");
        refused(&what, &self.try_settle(&token, verb).await)?;
        ensure_eq!(self.settle(&token, Verb::Ack).await?, Settled::Acked, "an ack after a refused {what}");
        watch.quiet().await
    }

    async fn refuses_leases(&self) -> Verdict {
        self.refuses_to_subscribe(ask::pool()?).await?;
        self.refuses_to_subscribe(ask::consumer("reader")?).await
    }

    /// A lease on a message of an event of its own; `None` where there are no leases.
    async fn leased(&self) -> Verdict<Option<(LeaseToken, crate::Watch)>> {
        let options = match (self.claimed(Claim::WorkerPool), self.claimed(Claim::Resume)) {
            (true, _) => ask::pool()?,
            (false, true) => ask::consumer("reader")?,
            (false, false) => return Ok(None),
        };
        let event = self.event().await?;
        let mut watch = self.subscribe(&event, options).await?;
        self.publish(&event, ["held"]).await?;
        let token = watch.lease("held").await?;
        Ok(Some((token, watch)))
    }
}

fn refused<T: std::fmt::Debug>(what: &str, answer: &Result<T>) -> Verdict {
    let kind = answer.as_ref().map_err(busgate_core::Error::kind);
    ensure!(
        kind.is_err_and(|kind| kind == ErrorKind::Unsupported),
        "{what} is not claimed, but answered {answer:?}"
    );
    Ok(())
}
