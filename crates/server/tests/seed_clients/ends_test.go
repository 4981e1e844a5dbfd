package seedclient

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	eventpb "busgate.dev/seedclient/event/v1"
)

// kind is what the last end was of, in the gateway's words.
func (s *Subscription) kind() string { return strings.Join(s.Trailer().Get("busgate-error-kind"), ",") }

// fails waits for the first error of a stream, which must be UNAVAILABLE.
func (s *Subscription) fails(t *testing.T) {
	t.Helper()
	until(t, "the stream ends", func() bool { return len(s.Errors()) > 0 })
	equal(t, "end", status.Code(s.Errors()[0]), codes.Unavailable)
}

func TestAnUnregisteredEventEndsAStreamWithOKForGood(t *testing.T) {
	c, _ := registered(t)
	c.publish(t, "orders", "1")
	subscriptions := []*Subscription{c.subscribe(t, all("orders")), c.subscribe(t, worker("orders"))}
	for _, s := range subscriptions {
		s.expects(t, "1")
	}
	succeeds(t, c.Unregister(t.Context(), "orders"))
	for _, s := range subscriptions {
		s.over(t)
		equal(t, "errors", len(s.Errors()), 0)
		equal(t, "times opened", len(s.Opened()), 1)
		equal(t, "kind", s.kind(), "closed")
	}
}

func TestADrainEndsAStreamWithUnavailable(t *testing.T) {
	c, g := registered(t)
	c.publish(t, "orders", "1")
	broadcast, group := c.subscribe(t, all("orders")), c.subscribe(t, worker("orders"))
	copied, held := broadcast.next(t), group.next(t)
	g.signal(syscall.SIGTERM)
	until(t, "the drain has begun", func() bool {
		return status.Code(c.Register(t.Context(), "orders")) == codes.Unavailable
	})
	c.settled(t, held, "")
	c.settled(t, copied, "")
	for _, s := range []*Subscription{broadcast, group} {
		s.fails(t)
	}
	<-g.ended
}

// The gateway of this one is the test's that runs this program: it can lose what is behind it.
func TestALostBackEndEndsAStreamWithUnavailable(t *testing.T) {
	g := &gateway{t: t, grpc: os.Getenv("BUSGATE_GRPC"), http: os.Getenv("BUSGATE_HTTP")}
	if g.grpc == "" {
		t.Fatal("BUSGATE_GRPC is not set")
	}
	c := client(t, g.grpc)
	succeeds(t, c.Register(t.Context(), "orders"))
	c.publish(t, "orders", "1")
	subscriptions := []*Subscription{c.subscribe(t, all("orders")), c.subscribe(t, worker("orders"))}
	for _, s := range subscriptions {
		s.expects(t, "1")
	}
	g.rest("POST", "/lose", "")
	for _, s := range subscriptions {
		s.fails(t)
		equal(t, "kind", s.kind(), "unavailable")
	}
	equal(t, "publish", status.Code(c.Publish(t.Context(), draft("orders", "2", "2"))), codes.Unavailable)
}

func TestASlowConsumerEndsAStreamWithUnavailable(t *testing.T) {
	c, g := registered(t)
	request := live("orders")
	request.BufferSize = 4
	s := c.subscribe(t, request)
	s.standing(t, c, "orders")
	// More than its room, its library's and the connection's: nobody takes it out.
	other, large := client(t, g.grpc), strings.Repeat("x", 100_000)
	for n := range 300 {
		succeeds(t, other.Publish(t.Context(), draft("orders", fmt.Sprint("slow-", n), large)))
	}
	until(t, "the stream ends", func() bool {
		for {
			select {
			case <-s.Messages:
			default:
				return len(s.Errors()) > 0
			}
		}
	})
	s.fails(t)
	equal(t, "kind", s.kind(), "unavailable")
	until(t, "it comes back", func() bool { return len(s.Opened()) > 1 })
	s.standing(t, c, "orders")
}

func TestASlowConsumerThatWantsAllIsWaitedFor(t *testing.T) {
	c, g := registered(t)
	request := all("orders")
	request.BufferSize = 4
	s := c.subscribe(t, request)
	other, large := client(t, g.grpc), strings.Repeat("x", 100_000)
	for n := range 200 {
		succeeds(t, other.Publish(t.Context(), draft("orders", fmt.Sprint("slow-", n), large)))
	}
	for n := range 200 {
		message := s.next(t)
		equal(t, "id", message.Id, fmt.Sprint("slow-", n))
		c.settled(t, message, "")
	}
	equal(t, "errors", len(s.Errors()), 0)
}

func TestAfterAnErrorItComesBackEachSecondWithTheSameRequest(t *testing.T) {
	c, g := registered(t)
	c.publish(t, "orders", "1", "2")
	s := c.subscribe(t, all("orders"))
	s.expects(t, "1", "2")
	g.end(syscall.SIGKILL)
	until(t, "it has come back in vain", func() bool { return len(s.Errors()) >= 3 })
	for _, err := range s.Errors() {
		equal(t, "error", status.Code(err), codes.Unavailable)
	}
	opened := s.Opened()
	for n := range len(opened) - 1 {
		if pause := opened[n+1].Sub(opened[n]); n > 0 && pause > 5*time.Second {
			t.Fatalf("it was held up for %v", pause)
		}
	}
	g.start()
	s.expects(t, "1", "2") // all that is retained, once more: the request says so
	c.publishAnyhow(t, draft("orders", "3", "3"))
	s.expects(t, "3")
}

func TestNobodyThatIsRefusedIsLeftWaiting(t *testing.T) {
	c, _ := registered(t)
	for _, request := range []*eventpb.SubscribeRequest{all("nobody.knows"), all("not a name")} {
		s := c.subscribe(t, request)
		until(t, "it is refused", func() bool { return len(s.Errors()) > 0 })
		if code := status.Code(s.Errors()[0]); code != codes.NotFound && code != codes.InvalidArgument {
			t.Fatalf("%v: %v", request, code)
		}
	}
}
