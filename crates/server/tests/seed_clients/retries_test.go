package seedclient

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	eventpb "busgate.dev/seedclient/event/v1"
)

const keys = `
[[keys]]
name = "shop"
key = "shop-key-0123456789"
rules = [{ operations = ["*"], events = [">"] }]
[[keys]]
name = "clerk"
key = "clerk-key-0123456789"
rules = [{ operations = ["subscribe", "ack", "list"], events = ["orders"] }]
`

// counting counts the tries of a client's calls.
func counting(tries *atomic.Int32) grpc.DialOption {
	return grpc.WithUnaryInterceptor(func(
		ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker,
		options ...grpc.CallOption,
	) error {
		tries.Add(1)
		return call(ctx, method, request, reply, conn, options...)
	})
}

func by(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
}

func TestTheCodesItMapsAreAnsweredAndOnlyTheFinalOnesAreNotRetried(t *testing.T) {
	g := start(t, keys)
	var tries atomic.Int32
	c := client(t, g.grpc, counting(&tries))
	shop, clerk := by(t.Context(), "shop-key-0123456789"), by(t.Context(), "clerk-key-0123456789")
	succeeds(t, c.Register(shop, "orders"))
	for _, line := range []struct {
		ctx     context.Context
		request *eventpb.PublishRequest
		code    codes.Code
		tries   int32
	}{
		{shop, draft("nobody.knows", "1", "x"), codes.NotFound, 1},
		{clerk, draft("orders", "1", "x"), codes.PermissionDenied, 1},
		{t.Context(), draft("orders", "1", "x"), codes.Unauthenticated, 1},
		// It maps these two to nothing of its own and tries them all again, each time with the same answer.
		{shop, draft("not a name", "1", "x"), codes.InvalidArgument, 1 + retries},
		{shop, draft("orders", "1", string(make([]byte, 2_000_000))), codes.OutOfRange, 1 + retries},
		{shop, draft("orders", "1", "x"), codes.OK, 1},
	} {
		tries.Store(0)
		err := c.Publish(line.ctx, line.request)
		what := fmt.Sprintf("publish to %q: %v", line.request.Event, err)
		equal(t, what, status.Code(err), line.code)
		equal(t, what, tries.Load(), line.tries)
	}
	g.end(syscall.SIGTERM)
	tries.Store(0)
	equal(t, "gone", status.Code(c.Publish(shop, draft("orders", "2", "x"))), codes.Unavailable)
	equal(t, "tries", tries.Load(), 1+retries)
}

func TestAPublishThatTimedOutIsRetriedUnderItsIDAndAcceptedOnce(t *testing.T) {
	c, g := registered(t)
	g.signal(syscall.SIGSTOP)
	limited, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	_, err := c.events.Publish(limited, draft("orders", "slow", "slow"))
	cancel()
	equal(t, "answer", status.Code(err), codes.DeadlineExceeded)
	g.signal(syscall.SIGCONT)
	succeeds(t, c.Publish(t.Context(), draft("orders", "slow", "slow")))
	c.publish(t, "orders", "next")
	c.subscribe(t, all("orders")).expects(t, "slow", "next")
}

func TestPublishesRetriedThroughAKillAreAcceptedOnce(t *testing.T) {
	const count = 1500
	c, g := registered(t)
	var accepted atomic.Int32
	published := make(chan error, 1)
	go func() {
		for n := range count {
			request, began := draft("orders", fmt.Sprint("m-", n), fmt.Sprint(n)), time.Now()
			for err := c.Publish(t.Context(), request); err != nil; err = c.Publish(t.Context(), request) {
				if time.Since(began) > patience {
					published <- err
					return
				}
			}
			accepted.Add(1)
		}
		published <- nil
	}()
	for _, enough := range []int32{count / 3, count * 2 / 3} {
		until(t, "some are accepted", func() bool { return accepted.Load() >= enough })
		g.end(syscall.SIGKILL)
		g.start()
	}
	succeeds(t, <-published)
	s := c.subscribe(t, all("orders"))
	for n := range count {
		message := s.next(t)
		equal(t, "each once, in order", string(message.Payload), fmt.Sprint(n))
		c.settled(t, message, "")
	}
	s.quiet(t, 200*time.Millisecond)
}

func TestItComesBackAfterADrainAndGoesOn(t *testing.T) {
	comesBackAfter(t, syscall.SIGTERM)
}

func TestItComesBackAfterAKillAndGoesOn(t *testing.T) {
	comesBackAfter(t, syscall.SIGKILL)
}

// comesBackAfter ends the gateway under a broadcast subscription and two workers, one of which holds a message.
func comesBackAfter(t *testing.T, signal syscall.Signal) {
	c, g := registered(t, `drain_timeout = "500ms"`)
	broadcast, group := c.subscribe(t, all("orders")), c.subscribe(t, worker("orders"))
	c.publish(t, "orders", "acked", "held")
	broadcast.expects(t, "acked", "held")
	acked, held := group.next(t), group.next(t)
	c.settled(t, acked, "")
	g.end(signal)
	g.start()
	c.publishAnyhow(t, draft("orders", "after", "after"))
	broadcast.expects(t, "acked", "held", "after")
	got := map[string]int32{}
	for len(got) < 2 {
		message := group.next(t)
		got[string(message.Payload)] = message.RetryCount
		c.settled(t, message, "")
	}
	if _, again := got["acked"]; again {
		t.Fatal("what was acked came again")
	}
	// A drain hands back uncounted; a kill can't.
	retries, back := got["held"]
	equal(t, "what was held comes back", back, true)
	equal(t, "retries", retries, map[syscall.Signal]int32{syscall.SIGTERM: 0, syscall.SIGKILL: 1}[signal])
	// The ack of what it held before says nothing wrong to a client that comes late.
	c.settled(t, held, "")
	for _, s := range []*Subscription{broadcast, group} {
		for _, err := range s.Errors() {
			equal(t, "error", status.Code(err), codes.Unavailable)
		}
	}
}
