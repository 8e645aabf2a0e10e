// Command lab-kubelet serves the endpoints of a kubelet that kube-apiserver connects to for exec,
// attach, port-forward and logs. It runs no containers: commands are processes of this machine, and
// ports are those of its loopback address.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

// So that a client which never ends its request does not hold a connection forever.
const readHeaderTimeout = 30 * time.Second

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:10250", "address to serve HTTPS on")
	certificate := flag.String("tls-cert-file", "", "serving certificate, PEM")
	key := flag.String("tls-private-key-file", "", "its private key, PEM")
	clientAuthority := flag.String("client-ca-file", "", "authority that every client's certificate must be from, PEM")
	flag.Parse()
	if err := serve(*listen, *certificate, *key, *clientAuthority); err != nil {
		log.Fatalf("lab-kubelet: %v", err)
	}
}

func serve(listen, certificate, key, clientAuthority string) error {
	authorities, err := readAuthorities(clientAuthority)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           routes(),
		ReadHeaderTimeout: readHeaderTimeout,
		TLSConfig: &tls.Config{
			ClientAuth: tls.RequireAndVerifyClientCert,
			ClientCAs:  authorities,
		},
	}
	fmt.Println("serving on", listener.Addr())
	return server.ServeTLS(listener, certificate, key)
}

func readAuthorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--client-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--client-ca-file: no certificate in %s", path)
	}
	return pool, nil
}

// The paths are the kubelet's own; the methods are not fixed, because SPDY clients POST and WebSocket
// clients GET.
func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", serveExec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", serveAttach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", servePortForward)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", serveLogs)
	return mux
}
