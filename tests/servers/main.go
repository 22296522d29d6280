// A server of net/http that takes the socket at fd 3 and drains at SIGTERM. With the word no-handler SIGTERM ends it, as it does
// where nobody calls Shutdown. It closes idle connections after KEEP_ALIVE seconds, if that is set.
package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	big := bytes.Repeat([]byte("x"), 16<<20)
	http.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"message": "go"}`))
	})
	http.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(big) })

	listener, err := net.FileListener(os.NewFile(3, "http"))
	if err != nil {
		panic(err)
	}
	seconds, _ := strconv.Atoi(os.Getenv("KEEP_ALIVE"))
	server := &http.Server{IdleTimeout: time.Duration(seconds) * time.Second}
	if len(os.Args) > 1 && os.Args[1] == "no-handler" {
		panic(server.Serve(listener))
	}
	ended := make(chan struct{})
	go func() {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		<-term
		_ = server.Shutdown(context.Background())
		close(ended)
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		panic(err)
	}
	<-ended
}
