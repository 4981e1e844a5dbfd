package seedclient

import (
	"context"
	"encoding/binary"
	"net"
	"sync"

	"google.golang.org/grpc"
)

// HTTP/2 frames that are counted.
const (
	framePing   = 6
	frameGoAway = 7
	flagAck     = 1
	prefaceLen  = 24
	headLen     = 9
)

// tap counts the connections a client makes, and what is said on them that a client's user never sees.
type tap struct {
	mutex       sync.Mutex
	connections int
	pings       int // that the client sent
	goAways     []uint32
}

// seen is what a tap has counted up to now: connections, pings, and the codes of the goodbyes.
func (t *tap) seen() (int, int, []uint32) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.connections, t.pings, append([]uint32(nil), t.goAways...)
}

// option makes a client's connections go through the tap.
func (t *tap) option() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		t.mutex.Lock()
		t.connections++
		t.mutex.Unlock()
		return &tapped{Conn: conn, sent: frames{skip: prefaceLen, each: t.sent}, got: frames{each: t.got}}, nil
	})
}

func (t *tap) sent(kind, flags byte, _ []byte) {
	if kind == framePing && flags&flagAck == 0 {
		t.mutex.Lock()
		t.pings++
		t.mutex.Unlock()
	}
}

func (t *tap) got(kind, _ byte, payload []byte) {
	if kind == frameGoAway && len(payload) >= 8 {
		t.mutex.Lock()
		t.goAways = append(t.goAways, binary.BigEndian.Uint32(payload[4:]))
		t.mutex.Unlock()
	}
}

type tapped struct {
	net.Conn
	sent, got frames
}

func (c *tapped) Write(bytes []byte) (int, error) {
	n, err := c.Conn.Write(bytes)
	c.sent.add(bytes[:n])
	return n, err
}

func (c *tapped) Read(bytes []byte) (int, error) {
	n, err := c.Conn.Read(bytes)
	c.got.add(bytes[:n])
	return n, err
}

// frames cuts one direction of a connection into frames, of which it keeps only what is small.
type frames struct {
	skip int
	held []byte
	each func(kind, flags byte, payload []byte)
}

func (f *frames) add(bytes []byte) {
	for len(bytes) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(bytes))
			f.skip, bytes = f.skip-n, bytes[n:]
			continue
		}
		need := headLen
		if len(f.held) >= headLen {
			need += f.length()
		}
		n := min(need-len(f.held), len(bytes))
		f.held, bytes = append(f.held, bytes[:n]...), bytes[n:]
		if len(f.held) < headLen {
			continue
		}
		if kind := f.held[3]; kind != framePing && kind != frameGoAway {
			f.skip, f.held = f.length(), f.held[:0]
		} else if len(f.held) == headLen+f.length() {
			f.each(kind, f.held[4], f.held[headLen:])
			f.held = f.held[:0]
		}
	}
}

func (f *frames) length() int { return int(f.held[0])<<16 | int(f.held[1])<<8 | int(f.held[2]) }
