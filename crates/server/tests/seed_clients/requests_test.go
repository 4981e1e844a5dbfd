package seedclient

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	eventpb "busgate.dev/seedclient/event/v1"
)

func TestAMessageArrivesAsItsClientsKnowIt(t *testing.T) {
	c, _ := registered(t)
	request := draft("orders", "m-1", "\x00\xff any bytes")
	before := time.Now()
	answer, err := c.events.Publish(t.Context(), request)
	succeeds(t, err)
	equal(t, "answered id", answer.Id, "m-1")
	for _, asked := range []*eventpb.SubscribeRequest{all("orders"), worker("orders")} {
		message := c.subscribe(t, asked).next(t)
		equal(t, "id", message.Id, "m-1")
		equal(t, "payload", string(message.Payload), string(request.Payload))
		equal(t, "source", message.Source, "remote")
		equal(t, "retries", message.RetryCount, 0)
		equal(t, "something to settle it by", message.AckId != "", true)
		if age := message.Timestamp.AsTime().Sub(before).Abs(); age > patience {
			t.Fatalf("published at %v", message.Timestamp.AsTime())
		}
	}
	listed, err := c.events.ListEvents(t.Context(), &eventpb.ListEventsRequest{})
	succeeds(t, err)
	equal(t, "listed", slices.Contains(listed.Events, "orders"), true)
	health, err := c.events.Health(t.Context(), &eventpb.HealthRequest{})
	succeeds(t, err)
	equal(t, "health", health.Status, eventpb.HealthStatus_HEALTH_STATUS_HEALTHY)
}

func TestStartFromBeginningIsAllThatIsRetainedAndThenTheRest(t *testing.T) {
	c, _ := registered(t)
	c.publish(t, "orders", "1", "2", "3")
	broadcast, group := c.subscribe(t, all("orders")), c.subscribe(t, worker("orders"))
	broadcast.expects(t, "1", "2", "3")
	group.expects(t, "1", "2", "3")
	c.publish(t, "orders", "4")
	broadcast.expects(t, "4")
	group.expects(t, "4")
}

func TestRegisteringTwiceIsFine(t *testing.T) {
	c, _ := registered(t)
	c.publish(t, "orders", "kept")
	succeeds(t, c.Register(t.Context(), "orders"))
	c.subscribe(t, all("orders")).expects(t, "kept")
}

func TestRegisteringWhatAnOperatorConfiguredIsFine(t *testing.T) {
	c, g := registered(t)
	g.rest("POST", "/v1/events/stock", `{"retentionMessages": 1000}`)
	succeeds(t, c.Register(t.Context(), "stock"))
}

func TestMetadataIsKeptExactlyCaseIncluded(t *testing.T) {
	c, _ := registered(t)
	request := draft("orders", "m-1", "{}")
	request.Metadata = map[string]string{
		"Content-Type": "application/json", "content-type": "other", "X-Ünï": "", "a b": "c\nd",
	}
	succeeds(t, c.Publish(t.Context(), request))
	for _, asked := range []*eventpb.SubscribeRequest{all("orders"), worker("orders")} {
		got := c.subscribe(t, asked).next(t).Metadata
		if !maps.Equal(got, request.Metadata) {
			t.Fatalf("got %q, want %q", got, request.Metadata)
		}
	}
}

func TestAnIDPublishedTwiceIsADuplicate(t *testing.T) {
	c, _ := registered(t)
	for range 2 {
		succeeds(t, c.Publish(t.Context(), draft("orders", "same", "once")))
	}
	c.publish(t, "orders", "next")
	c.subscribe(t, all("orders")).expects(t, "once", "next")
}

func TestAWindowOfZeroTurnsDeduplicationOff(t *testing.T) {
	c, g := registered(t)
	g.rest("POST", "/v1/events/raw", `{"dedupWindow": "0s"}`)
	succeeds(t, c.Register(t.Context(), "raw"))
	for range 2 {
		succeeds(t, c.Publish(t.Context(), draft("raw", "same", "twice")))
	}
	c.subscribe(t, all("raw")).expects(t, "twice", "twice")
}

func TestAnEmptyErrorIsAnAck(t *testing.T) {
	c, _ := registered(t, "[delivery]", `backoff = ["10ms"]`)
	c.publish(t, "orders", "1", "2")
	s := c.subscribe(t, worker("orders"))
	for range 2 {
		c.settled(t, s.next(t), "")
	}
	s.quiet(t, 300*time.Millisecond)
	s.Close()
	again := c.subscribe(t, worker("orders"))
	c.publish(t, "orders", "3")
	again.expects(t, "3")
}

func TestRetryCountIsHowOftenAMessageCameBefore(t *testing.T) {
	c, _ := registered(t, "[delivery]", `backoff = ["10ms"]`, "max_deliver = 4")
	c.publish(t, "orders", "hard")
	s := c.subscribe(t, worker("orders"))
	for n := range int32(4) {
		message := s.next(t)
		equal(t, "retries", message.RetryCount, n)
		c.settled(t, message, fmt.Sprint("failed ", n))
	}
	dead := c.subscribe(t, all("_dlq.orders")).next(t)
	equal(t, "payload", string(dead.Payload), "hard")
	s.quiet(t, 200*time.Millisecond)
}

func TestAMessageNobodySettlesComesBackAfterTheAckTimeout(t *testing.T) {
	const timeout = time.Second
	c, _ := registered(t, "[delivery]", `ack_wait = "1s"`, `backoff = ["10ms"]`)
	c.publish(t, "orders", "1")
	s := c.subscribe(t, worker("orders"))
	first, came := s.next(t), time.Now()
	second := s.next(t)
	equal(t, "id", second.Id, first.Id)
	equal(t, "retries", second.RetryCount, 1)
	if after := time.Since(came); after < timeout*9/10 {
		t.Fatalf("it came back after %v", after)
	}
	// Its client takes no notice of what becomes of an ack, so one that comes too late is no error.
	c.settled(t, first, "")
	c.settled(t, second, "")
	s.quiet(t, timeout*3/2)
}

func TestEachAckCarriesOneEntry(t *testing.T) {
	const count = 200
	c, _ := registered(t, "[delivery]", `backoff = ["10ms"]`)
	s := c.subscribe(t, worker("orders"))
	for n := range count {
		c.publish(t, "orders", fmt.Sprint(n))
	}
	var acks sync.WaitGroup
	for range count {
		message := s.next(t)
		acks.Go(func() {
			if err := c.Ack(t.Context(), message, ""); err != nil {
				t.Error(err)
			}
		})
	}
	acks.Wait()
	s.quiet(t, 300*time.Millisecond)
	forged := &eventpb.Message{AckId: "forged"}
	equal(t, "a forged one", status.Code(c.Ack(t.Context(), forged, "")), codes.InvalidArgument)
}

func TestWorkersOfTwoClientsShareTheirGroup(t *testing.T) {
	const count = 200
	first, g := registered(t)
	second := client(t, g.grpc)
	got := make(chan string)
	var members []*Subscription
	for _, c := range []*Client{first, second} {
		s := c.subscribe(t, worker("orders"))
		members = append(members, s)
		go func() {
			for message := range s.Messages {
				if c.Ack(t.Context(), message, "") == nil {
					got <- string(message.Payload)
				}
			}
		}()
	}
	seen := map[string]int{}
	for n := range count {
		first.publish(t, "orders", fmt.Sprint(n))
	}
	late := time.After(patience)
	for range count {
		select {
		case text := <-got:
			seen[text]++
		case <-late:
			t.Fatalf("only %d of %d came", len(seen), count)
		}
	}
	equal(t, "each to one of them", len(seen), count)
	for _, s := range members {
		s.Close()
	}
}
