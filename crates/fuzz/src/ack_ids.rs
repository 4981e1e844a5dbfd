//! Ack ids, genuine and forged: nobody settles what was not delivered to them.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    AckStatus, AllowAll, Caller, ErrorKind, Gateway, GatewayConfig, GroupName, Nack, Outgoing, Pattern,
    Session, SettleAction, SettleRequest, SubscribeRequest, SystemClock,
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

use crate::{
    errors::refused,
    input::Input,
    stage::{MESSAGES, block_on, event, fill, needed},
};

/// Longer than anyone tries.
const LEASE: Duration = Duration::from_secs(12 * 3600);

/// A gateway with deliveries that wait for their acks.
struct Desk {
    gateway: Gateway,
    owner: Caller,
    ack_ids: Vec<String>,
    _sessions: Vec<Session>,
}

thread_local! {
    static DESK: Desk = block_on(desk());
}

/// Half of the deliveries have a lease, the others are unnamed broadcast.
async fn desk() -> Desk {
    let clock = SystemClock::shared();
    let transport = MemoryTransport::new(MemoryConfig::default());
    let event = event("orders.created");
    needed(fill(&transport, &event, MESSAGES / 2).await);
    let gateway = Gateway::new(transport, Arc::new(AllowAll), clock, GatewayConfig::default());
    let owner = Caller::principal("owner");
    let target = Pattern::from(event);
    let pool = SubscribeRequest::pool(target.clone(), GroupName::default());
    let live =
        SubscribeRequest { start: busgate_core::Start::Beginning, ..SubscribeRequest::broadcast(target) };
    let (mut ack_ids, mut sessions) = (Vec::new(), Vec::new());
    for request in [pool, live] {
        let request = SubscribeRequest { ack_wait: Some(LEASE), ..request };
        let mut session = needed(gateway.subscribe(&owner, request).await);
        while ack_ids.len() < (sessions.len() + 1) * MESSAGES / 2 {
            if let Outgoing::Message(message) = session.next().await {
                session.handed_off();
                ack_ids.extend(message.ack_id);
            }
        }
        sessions.push(session);
    }
    Desk { gateway, owner, ack_ids, _sessions: sessions }
}

/// The first byte says which genuine ack id is changed, or that the rest is one as it is.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = usize::from(input.byte());
    let action = action(&mut input);
    DESK.with(|desk| {
        let forged = match desk.ack_ids.get(choice) {
            Some(genuine) => changed(genuine, input),
            None => String::from_utf8_lossy(input.rest()).into_owned(),
        };
        desk.try_out(&forged, &action);
    });
}

fn action(input: &mut Input<'_>) -> SettleAction {
    let time = Duration::from_millis(input.number().into());
    match input.byte() % 4 {
        0 => SettleAction::Ack,
        1 => SettleAction::Nack(Nack { delay: Some(time), error: Some(input.text().into()) }),
        2 => SettleAction::Reject { reason: input.text().into() },
        _ => SettleAction::Extend(time),
    }
}

/// An ack id with some bits flipped, and cut or with a tail.
fn changed(genuine: &str, mut input: Input<'_>) -> String {
    let mut bytes = genuine.as_bytes().to_vec();
    for _ in 0..input.byte() % 4 {
        let at = usize::try_from(input.number()).unwrap_or_default() % bytes.len();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= input.byte();
        }
    }
    bytes.truncate(bytes.len() - usize::from(input.byte() % 8));
    bytes.extend_from_slice(input.rest());
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Desk {
    fn try_out(&self, forged: &str, action: &SettleAction) {
        if self.ack_ids.iter().any(|genuine| genuine == forged) {
            return;
        }
        let entry = |ack_id: &str, action: &SettleAction| SettleRequest {
            ack_id: ack_id.into(),
            action: action.clone(),
        };
        let settle = |caller: &Caller, batch| block_on(self.gateway.settle(caller, batch));
        let alone = settle(&self.owner, vec![entry(forged, action)]);
        assert!(alone.as_ref().is_err_and(|error| error.kind() == ErrorKind::Invalid), "{forged}: {alone:?}");
        if let Err(error) = &alone {
            refused(error);
        }
        let Some(genuine) = self.ack_ids.get(forged.len() % MESSAGES) else { return };
        let extend = SettleAction::Extend(LEASE);
        let beside = settle(&self.owner, vec![entry(forged, action), entry(genuine, &extend)]);
        let statuses =
            beside.map(|answers| answers.into_iter().map(|answer| answer.status).collect::<Vec<_>>());
        assert!(
            statuses.as_deref().is_ok_and(|statuses| statuses == [AckStatus::Invalid, AckStatus::Extended]),
            "{statuses:?}"
        );
        let stolen =
            settle(&Caller::principal("thief"), vec![entry(genuine, action), entry(genuine, &extend)]);
        let stolen =
            stolen.map(|answers| answers.into_iter().map(|answer| answer.status).collect::<Vec<_>>());
        assert!(stolen.as_deref().is_ok_and(|statuses| statuses == [AckStatus::NotOwner; 2]), "{stolen:?}");
    }
}
