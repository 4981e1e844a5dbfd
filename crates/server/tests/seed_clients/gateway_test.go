package seedclient

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that is expected to happen.
const patience = 30 * time.Second

// gateway is the real binary, in a process and a folder of its own. It ends with its test.
type gateway struct {
	t          *testing.T
	folder     string
	grpc, http string
	process    *exec.Cmd
	ended      chan struct{}
}

// start starts one that listens wherever there is room; the lines are those of its configuration.
func start(t *testing.T, lines ...string) *gateway {
	t.Helper()
	g := &gateway{t: t, folder: t.TempDir(), grpc: "127.0.0.1:0", http: "127.0.0.1:0"}
	text := strings.Join(lines, "\n")
	if err := os.WriteFile(filepath.Join(g.folder, "busgate.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.end(syscall.SIGKILL) })
	g.start()
	return g
}

// start starts it, or starts it again at the same addresses and on the same messages.
func (g *gateway) start() {
	g.t.Helper()
	for began := time.Now(); !g.serve(); {
		if time.Since(began) > patience {
			g.t.Fatal("the gateway does not start")
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// serve tells whether the gateway came to listen: somebody else may have its port for a moment.
func (g *gateway) serve() bool {
	g.t.Helper()
	program := os.Getenv("BUSGATE_PROGRAM")
	g.process = exec.Command(program, "serve", "--config", "busgate.toml", "--log-format", "json",
		"--grpc", g.grpc, "--http", g.http)
	g.process.Dir = g.folder
	g.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := g.process.StderrPipe()
	if err == nil {
		err = g.process.Start()
	}
	if err != nil {
		g.t.Fatalf("BUSGATE_PROGRAM %q: %v", program, err)
	}
	ready, ended := make(chan [2]string, 1), make(chan struct{})
	g.ended = ended
	go func(process *exec.Cmd) {
		defer close(ended)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			fmt.Fprintln(os.Stderr, "gateway:", lines.Text())
			var line struct{ Grpc, Http string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Grpc != "" {
				ready <- [2]string{line.Grpc, line.Http}
			}
		}
		_ = process.Wait()
	}(g.process)
	select {
	case at := <-ready:
		g.grpc, g.http = at[0], at[1]
		return true
	case <-ended:
		return false
	case <-time.After(patience):
		g.t.Fatal("the gateway does not say that it is ready")
		return false
	}
}

// signal sends a signal without waiting for what comes of it.
func (g *gateway) signal(signal syscall.Signal) { _ = g.process.Process.Signal(signal) }

// end sends a signal and waits until the process is gone.
func (g *gateway) end(signal syscall.Signal) {
	g.t.Helper()
	g.signal(signal)
	select {
	case <-g.ended:
	case <-time.After(patience):
		g.signal(syscall.SIGKILL)
		g.t.Error("the gateway does not end")
	}
}
