package seedclient

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

func TestAllSubscriptionsShareOneConnectionBesideThePublishes(t *testing.T) {
	g, counted := start(t), &tap{}
	c := client(t, g.grpc, counted.option())
	succeeds(t, c.Register(t.Context(), "orders"))
	c.publish(t, "orders", "before")
	subscriptions := make([]*Subscription, 300)
	for n := range subscriptions {
		subscriptions[n] = c.subscribe(t, all("orders"))
	}
	for _, s := range subscriptions {
		s.expects(t, "before")
	}
	began := time.Now()
	c.publish(t, "orders", "beside them")
	if took := time.Since(began); took > callTimeout/2 {
		t.Fatalf("publishing took %v", took)
	}
	for _, s := range subscriptions {
		s.expects(t, "beside them")
	}
	connections, _, _ := counted.seen()
	equal(t, "connections", connections, 1)
}

func TestTenThousandStreamsAreOpenAtOnce(t *testing.T) {
	g, counted := start(t), &tap{}
	c := client(t, g.grpc, counted.option())
	succeeds(t, c.Register(t.Context(), "orders"))
	c.publish(t, "orders", "before")
	subscriptions := make([]*Subscription, 10_000)
	for n := range subscriptions {
		subscriptions[n] = c.subscribe(t, all("orders"))
	}
	for _, s := range subscriptions {
		s.expects(t, "before")
	}
	c.publish(t, "orders", "beside them")
	for _, s := range subscriptions {
		s.expects(t, "beside them")
	}
	connections, _, _ := counted.seen()
	equal(t, "connections", connections, 1)
}

// What it does each 30 s, as often as its library can: a server that takes this for too much says so at the third ping.
func TestItsPingsDoNotGetItSentAway(t *testing.T) {
	g := start(t)
	for _, silent := range []int{0, 1} {
		t.Run(fmt.Sprintf("beside %d silent streams", silent), func(t *testing.T) {
			t.Parallel()
			counted, event := &tap{}, fmt.Sprintf("orders-%d", silent)
			often := grpc.WithKeepaliveParams(keepalive.ClientParameters{
				Time: 10 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
			})
			c := client(t, g.grpc, counted.option(), often)
			succeeds(t, c.Register(t.Context(), event))
			for range silent {
				c.subscribe(t, all(event)).quiet(t, time.Second)
			}
			time.Sleep(33 * time.Second)
			c.publish(t, event, "still here")
			connections, pings, goAways := counted.seen()
			equal(t, "connections", connections, 1)
			equal(t, "times sent away", len(goAways), 0)
			if pings < 3 {
				t.Fatalf("only %d pings were sent", pings)
			}
		})
	}
}
