package seedclient

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"

	eventpb "busgate.dev/seedclient/event/v1"
)

// client connects to a gateway until the test ends.
func client(t *testing.T, address string, options ...grpc.DialOption) *Client {
	t.Helper()
	c, err := Dial(address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// registered is a client, and a gateway with an event `orders`.
func registered(t *testing.T, lines ...string) (*Client, *gateway) {
	t.Helper()
	g := start(t, lines...)
	c := client(t, g.grpc)
	succeeds(t, c.Register(t.Context(), "orders"))
	return c, g
}

func succeeds(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// all is the subscription that the client asks for unless told otherwise.
func all(event string) *eventpb.SubscribeRequest {
	return &eventpb.SubscribeRequest{
		Event:        event,
		DeliveryMode: eventpb.DeliveryMode_DELIVERY_MODE_BROADCAST,
		StartFrom:    eventpb.StartPosition_START_POSITION_BEGINNING,
	}
}

// live is one for what is published from now on.
func live(event string) *eventpb.SubscribeRequest {
	request := all(event)
	request.StartFrom = eventpb.StartPosition_START_POSITION_LATEST
	return request
}

// worker is that of a member of the group `workers`.
func worker(event string) *eventpb.SubscribeRequest {
	request := all(event)
	request.DeliveryMode = eventpb.DeliveryMode_DELIVERY_MODE_WORKER_POOL
	request.WorkerGroup = "workers"
	return request
}

func draft(event, id, payload string) *eventpb.PublishRequest {
	return &eventpb.PublishRequest{Event: event, Id: id, Payload: []byte(payload)}
}

// publish publishes texts, each under an id of its own.
func (c *Client) publish(t *testing.T, event string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		succeeds(t, c.Publish(t.Context(), draft(event, fmt.Sprintf("%s-%d", text, time.Now().UnixNano()), text)))
	}
}

// publishAnyhow publishes as an application does that won't take no for an answer: again, under the same id.
func (c *Client) publishAnyhow(t *testing.T, request *eventpb.PublishRequest) {
	t.Helper()
	until(t, "it is published", func() bool { return c.Publish(t.Context(), request) == nil })
}

// subscribe is a subscription that ends with the test.
func (c *Client) subscribe(t *testing.T, request *eventpb.SubscribeRequest) *Subscription {
	t.Helper()
	s := c.Subscribe(request)
	t.Cleanup(s.Close)
	return s
}

// settled acks, or nacks.
func (c *Client) settled(t *testing.T, message *eventpb.Message, failed string) {
	t.Helper()
	succeeds(t, c.Ack(t.Context(), message, failed))
}

// next is the next message, which must come soon.
func (s *Subscription) next(t *testing.T) *eventpb.Message {
	t.Helper()
	select {
	case message, open := <-s.Messages:
		if !open {
			t.Fatalf("it ended for good: %v", s.Errors())
		}
		return message
	case <-time.After(patience):
		t.Fatalf("no message comes: %v", s.Errors())
	}
	return nil
}

// expects receives these payloads, in this order.
func (s *Subscription) expects(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		equal(t, "payload", string(s.next(t).Payload), text)
	}
}

// standing waits until a live subscription sees what is published.
func (s *Subscription) standing(t *testing.T, c *Client, event string) {
	t.Helper()
	until(t, "the subscription stands", func() bool {
		c.publish(t, event, "hello")
		select {
		case <-s.Messages:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	for {
		select {
		case <-s.Messages:
		case <-time.After(100 * time.Millisecond):
			return
		}
	}
}

// quiet is a time in which nothing may come.
func (s *Subscription) quiet(t *testing.T, time_ time.Duration) {
	t.Helper()
	select {
	case message, open := <-s.Messages:
		t.Fatalf("got %v (open: %v, errors: %v), want nothing", message, open, s.Errors())
	case <-time.After(time_):
	}
}

// over waits until a subscription has ended for good.
func (s *Subscription) over(t *testing.T) {
	t.Helper()
	for late := time.After(patience); ; {
		select {
		case _, open := <-s.Messages:
			if !open {
				return
			}
		case <-late:
			t.Fatal("it does not end")
		}
	}
}

// until waits until something holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// rest calls the gateway as its operator does.
func (g *gateway) rest(method, path, body string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+g.http+path, bytes.NewBufferString(body))
	succeeds(g.t, err)
	request.Header.Set("content-type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	succeeds(g.t, err)
	_ = answer.Body.Close()
	if answer.StatusCode >= 300 {
		g.t.Fatalf("%s %s: %s", method, path, answer.Status)
	}
}
