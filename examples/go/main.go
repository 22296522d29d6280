// A server that Segue reloads without losing a request; docs/go.md explains it.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// listener is the socket at fd 3 that was handed over, or one of our own.
func listener(address string) (net.Listener, error) {
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		return net.FileListener(os.NewFile(3, "listener"))
	}
	return net.Listen("tcp", address)
}

// ready tells Segue, or systemd, that clients are answered.
func ready() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	connection, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = connection.Write([]byte("READY=1"))
	return err
}

var draining, open int32

// politely answers all that comes; the last answer of each connection says so.
func politely(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if atomic.LoadInt32(&draining) == 1 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		atomic.AddInt32(&open, 1)
	case http.StateClosed, http.StateHijacked:
		atomic.AddInt32(&open, -1)
	}
}

func main() {
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	socket, err := listener("127.0.0.1:8000")
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"message": "hello"}`)
	})
	server := &http.Server{Handler: politely(http.DefaultServeMux), ConnState: count}
	go func() {
		err := server.Serve(socket)
		if atomic.LoadInt32(&draining) == 0 {
			log.Fatal(err)
		}
	}()
	if err := ready(); err != nil {
		log.Fatal(err)
	}
	<-stop.Done()
	atomic.StoreInt32(&draining, 1)
	socket.Close()
	end := time.Now().Add(25 * time.Second)
	for atomic.LoadInt32(&open) > 0 && time.Now().Before(end) {
		time.Sleep(50 * time.Millisecond)
	}
}
