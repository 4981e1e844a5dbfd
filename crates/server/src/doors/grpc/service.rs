//! `event.v1.EventService`: each call is decoded, made, and its answer encoded.

use std::sync::Arc;

use busgate_core::{Draft, MAX_PAGE, MAX_PAGE_BYTES, Result, Turn};
use busgate_wire::{
    convert::{self, Described},
    proto::event::v1::{
        AckRequest, AckResponse, ConsumeRequest, ConsumeResponse, DescribeRequest, DescribeResponse,
        GetEventRequest, GetEventResponse, GetMessageRequest, GetMessageResponse, HealthRequest,
        HealthResponse, ListEventsRequest, ListEventsResponse, Message, PublishBatchRequest,
        PublishBatchResponse, PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse,
        ReadMessagesRequest, ReadMessagesResponse, RegisterEventRequest, RegisterEventResponse,
        SubscribeRequest, UnregisterEventRequest, UnregisterEventResponse,
        event_service_server::EventService,
    },
};
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    call::Call,
    consume,
    publish::{self, Publisher},
    publish_stream, subscribe,
};
use crate::app::App;

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    app: Arc<App>,
}

impl Service {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    async fn register(&self, call: &Call, request: Request<RegisterEventRequest>) -> Result<()> {
        let (caller, request) = call.open(request)?;
        let (event, config) = convert::register(&request)?;
        self.app.gateway.register(&caller, &event, &config).await
    }

    async fn unregister(&self, call: &Call, request: Request<UnregisterEventRequest>) -> Result<()> {
        let (caller, request) = call.open(request)?;
        let event = convert::unregister(&request)?;
        self.app.gateway.unregister(&caller, &event).await
    }

    async fn events(&self, call: &Call, request: Request<ListEventsRequest>) -> Result<ListEventsResponse> {
        let (caller, _) = call.open(request)?;
        let events = self.app.gateway.events(&caller).await?;
        Ok(convert::events(&events))
    }

    async fn event(&self, call: &Call, request: Request<GetEventRequest>) -> Result<GetEventResponse> {
        let (caller, request) = call.open(request)?;
        let event = convert::detail(&request)?;
        Ok(convert::detailed(&self.app.gateway.describe(&caller, &event).await?))
    }

    async fn page(&self, call: &Call, request: Request<ReadMessagesRequest>) -> Result<ReadMessagesResponse> {
        let (caller, request) = call.open(request)?;
        let (event, request) = convert::history(&request)?;
        Ok(convert::history_answer(&self.app.gateway.history(&caller, &event, request).await?))
    }

    async fn found(&self, call: &Call, request: Request<GetMessageRequest>) -> Result<GetMessageResponse> {
        let (caller, request) = call.open(request)?;
        let (event, place) = convert::lookup(&request)?;
        Ok(convert::lookup_answer(self.app.gateway.find(&caller, &event, &place).await?.as_ref()))
    }

    fn described(&self, call: &Call, request: Request<DescribeRequest>) -> Result<DescribeResponse> {
        call.open(request)?;
        let limits = &self.app.gateway.config().limits;
        Ok(convert::described(&Described {
            version: env!("CARGO_PKG_VERSION").into(),
            capabilities: self.app.gateway.capabilities(),
            max_payload_bytes: limits.max_payload_bytes,
            max_batch: limits.max_batch,
            max_page: MAX_PAGE,
            max_page_bytes: MAX_PAGE_BYTES,
        }))
    }

    async fn publish_one(&self, call: &Call, request: Request<PublishRequest>) -> Result<PublishResponse> {
        let source = publish::source(request.metadata())?;
        let (caller, request) = call.open(request)?;
        let (event, draft) = convert::publish(request)?;
        self.app.admit(&caller, 1)?;
        let source = draft.source.or(source);
        let draft = Draft { source, ..draft };
        let receipt = self.app.gateway.publish_one(&caller, &event, draft).await?;
        Ok(convert::published(&receipt))
    }

    async fn publish_many(
        &self,
        call: &Call,
        request: Request<PublishBatchRequest>,
    ) -> Result<PublishBatchResponse> {
        let source = publish::source(request.metadata())?;
        let (caller, request) = call.open(request)?;
        let publisher = Publisher::new(&self.app, caller, source);
        let batch = convert::batch(request);
        publisher.admit(batch.len())?;
        let answers = publisher.publish(batch, Turn::alone()).await?;
        Ok(convert::batch_answer(&answers))
    }

    async fn settle(&self, call: &Call, request: Request<AckRequest>) -> Result<AckResponse> {
        let (caller, request) = call.open(request)?;
        let entries = convert::ack(request)?;
        let ids = entries.iter().map(|entry| entry.ack_id.clone()).collect();
        let answers = self.app.gateway.settle(&caller, entries).await?;
        Ok(convert::acked(ids, answers))
    }
}

#[async_trait]
impl EventService for Service {
    type PublishStreamStream = Stream<PublishStreamResponse>;
    type SubscribeStream = Stream<Message>;
    type ConsumeStream = Stream<ConsumeResponse>;

    async fn register_event(&self, request: Request<RegisterEventRequest>) -> Answer<RegisterEventResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.register(&call, request).await.map(|()| RegisterEventResponse::default()))
    }

    async fn unregister_event(
        &self,
        request: Request<UnregisterEventRequest>,
    ) -> Answer<UnregisterEventResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.unregister(&call, request).await.map(|()| UnregisterEventResponse::default()))
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Answer<ListEventsResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.events(&call, request).await)
    }

    async fn get_event(&self, request: Request<GetEventRequest>) -> Answer<GetEventResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.event(&call, request).await)
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Answer<PublishResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.publish_one(&call, request).await)
    }

    async fn publish_batch(&self, request: Request<PublishBatchRequest>) -> Answer<PublishBatchResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.publish_many(&call, request).await)
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Answer<Self::PublishStreamStream> {
        let call = Call::new(&self.app, &request);
        call.answer(publish_stream::open(&call, request))
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Answer<Self::SubscribeStream> {
        let call = Call::new(&self.app, &request);
        call.answer(subscribe::open(&call, request).await)
    }

    async fn consume(&self, request: Request<Streaming<ConsumeRequest>>) -> Answer<Self::ConsumeStream> {
        let call = Call::new(&self.app, &request);
        call.answer(consume::open(&call, request).await)
    }

    async fn read_messages(&self, request: Request<ReadMessagesRequest>) -> Answer<ReadMessagesResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.page(&call, request).await)
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Answer<GetMessageResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.found(&call, request).await)
    }

    async fn ack(&self, request: Request<AckRequest>) -> Answer<AckResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.settle(&call, request).await)
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Answer<DescribeResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(self.described(&call, request))
    }

    async fn health(&self, request: Request<HealthRequest>) -> Answer<HealthResponse> {
        let call = Call::new(&self.app, &request);
        call.answer(Ok(convert::health(&self.app.health().await)))
    }
}
