package main

// Defines the endpoints that turn a request into streams: exec, attach and port-forward.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// What the kubelet has by default (streamingConnectionIdleTimeout).
const idleTimeout = 4 * time.Hour

// What `kubectl attach` finds running in every container.
var attached = []string{"cat"}

// processes runs commands on this machine, whatever container they are meant for.
type processes struct{}

func serveExec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, processes{}, r.PathValue("pod"), "", r.PathValue("container"),
		r.URL.Query()["command"], options, idleTimeout, remotecommand.DefaultStreamCreationTimeout,
		remotecommand.SupportedStreamingProtocols)
}

func serveAttach(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, processes{}, r.PathValue("pod"), "", r.PathValue("container"),
		options, idleTimeout, remotecommand.DefaultStreamCreationTimeout,
		remotecommand.SupportedStreamingProtocols)
}

func servePortForward(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, loopback{}, r.PathValue("pod"), "", options, idleTimeout,
		remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

func (processes) ExecInContainer(_ context.Context, _, _, _ string, command []string, stdin io.Reader,
	stdout, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	return run(command, stdin, stdout, stderr, tty, resize)
}

func (processes) AttachContainer(_ context.Context, _, _, _ string, stdin io.Reader,
	stdout, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize,
) error {
	return run(attached, stdin, stdout, stderr, tty, resize)
}

// loopback takes the ports of every pod for those of 127.0.0.1.
type loopback struct{}

func (loopback) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	var dialer net.Dialer
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("forwarding to port %d: %w", port, err)
	}
	defer connection.Close()
	tcp, ok := connection.(*net.TCPConn)
	if !ok {
		return errors.New("a connection over TCP is not one")
	}
	go func() {
		// The end of what the client sends is not yet the end of what it waits for.
		_, _ = io.Copy(tcp, stream)
		_ = tcp.CloseWrite()
	}()
	_, err = io.Copy(stream, tcp)
	return err
}
