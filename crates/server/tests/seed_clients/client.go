// Package seedclient is a client as those of the event-server are: what it sends, how it keeps its connection, what it
// retries and when it comes back. Its stub is generated from that server's names and numbers alone.
package seedclient

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	eventpb "busgate.dev/seedclient/event/v1"
)

const (
	callTimeout   = 10 * time.Second
	retries       = 3
	firstBackoff  = 100 * time.Millisecond
	longBackoff   = 5 * time.Second
	comesBack     = time.Second
	streamErrors  = 10
	subscribeRoom = 100
)

// Client has one connection for everything.
type Client struct {
	conn   *grpc.ClientConn
	events eventpb.EventServiceClient
}

// Dial makes a client; it connects when it is first used. Options given here win.
func Dial(address string, options ...grpc.DialOption) (*Client, error) {
	defaults := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
	}
	conn, err := grpc.NewClient(address, append(defaults, options...)...)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, events: eventpb.NewEventServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() { _ = c.conn.Close() }

// Register makes an event known.
func (c *Client) Register(ctx context.Context, event string) error {
	return c.retry(ctx, func(ctx context.Context) error {
		_, err := c.events.RegisterEvent(ctx, &eventpb.RegisterEventRequest{Name: event})
		return err
	})
}

// Unregister forgets an event.
func (c *Client) Unregister(ctx context.Context, event string) error {
	return c.retry(ctx, func(ctx context.Context) error {
		_, err := c.events.UnregisterEvent(ctx, &eventpb.UnregisterEventRequest{Name: event})
		return err
	})
}

// Publish publishes a message, the same one at each try.
func (c *Client) Publish(ctx context.Context, request *eventpb.PublishRequest) error {
	return c.retry(ctx, func(ctx context.Context) error {
		_, err := c.events.Publish(ctx, request)
		return err
	})
}

// Ack settles one delivery, without a retry: an ack if failed is empty.
func (c *Client) Ack(ctx context.Context, message *eventpb.Message, failed string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entries := []*eventpb.AckEntry{{AckId: message.AckId, Error: failed}}
	_, err := c.events.Ack(ctx, &eventpb.AckRequest{Entries: entries})
	return err
}

// retry calls again, later and later, unless the error is final.
func (c *Client) retry(ctx context.Context, call func(context.Context) error) error {
	backoff := firstBackoff
	for attempt := 0; ; attempt++ {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		err := call(limited)
		cancel()
		if err == nil || final(err) || attempt == retries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(float64(backoff) * (0.5 + rand.Float64()))):
		}
		backoff = min(2*backoff, longBackoff)
	}
}

// final tells the errors that are not retried.
func final(err error) bool {
	switch status.Code(err) {
	case codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.PermissionDenied, codes.Unauthenticated:
		return true
	default:
		return false
	}
}

// Subscription is a stream that is opened again after every error.
type Subscription struct {
	// Messages is closed when it has ended for good.
	Messages chan *eventpb.Message
	cancel   context.CancelFunc

	mutex   sync.Mutex
	errors  []error
	trailer metadata.MD
	opened  []time.Time
}

// Subscribe opens a stream and keeps it open.
func (c *Client) Subscribe(request *eventpb.SubscribeRequest) *Subscription {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Subscription{Messages: make(chan *eventpb.Message, subscribeRoom), cancel: cancel}
	go s.run(ctx, c.events, request)
	return s
}

// Close ends it.
func (s *Subscription) Close() { s.cancel() }

// Errors are those it came back after, and the one it gave up on.
func (s *Subscription) Errors() []error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]error(nil), s.errors...)
}

// Trailer is that of the last stream that ended.
func (s *Subscription) Trailer() metadata.MD {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.trailer.Copy()
}

// Opened tells when it asked for a stream.
func (s *Subscription) Opened() []time.Time {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]time.Time(nil), s.opened...)
}

func (s *Subscription) run(ctx context.Context, events eventpb.EventServiceClient, request *eventpb.SubscribeRequest) {
	defer close(s.Messages)
	inARow := 0
	for {
		received, err := s.stream(ctx, events, request)
		if err == io.EOF || ctx.Err() != nil {
			return
		}
		if received {
			inARow = 0
		}
		if inARow++; inARow > streamErrors {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(comesBack):
		}
	}
}

// stream reads one stream to its end.
func (s *Subscription) stream(
	ctx context.Context, events eventpb.EventServiceClient, request *eventpb.SubscribeRequest,
) (received bool, err error) {
	s.mutex.Lock()
	s.opened = append(s.opened, time.Now())
	s.mutex.Unlock()
	stream, err := events.Subscribe(ctx, request)
	for err == nil {
		var message *eventpb.Message
		if message, err = stream.Recv(); err == nil {
			received = true
			select {
			case s.Messages <- message:
			case <-ctx.Done():
				return received, ctx.Err()
			}
		}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if stream != nil {
		s.trailer = stream.Trailer()
	}
	if err != io.EOF {
		s.errors = append(s.errors, err)
	}
	return received, err
}
