// The hub with Go's net/http: a goroutine and a channel for each stream, each event encoded once, all waiting
// events of a channel flushed at once, and one ticker for all heartbeats.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Events that a stream may lag: many times what the harness publishes before it waits.
const capacity = 1024

var heartbeat = []byte(":\n\n")

type topic map[chan []byte]struct{}

type hub struct {
	sync.Mutex
	topics map[string]topic
}

func (h *hub) subscribe(name string) chan []byte {
	events := make(chan []byte, capacity)
	h.Lock()
	defer h.Unlock()
	if h.topics[name] == nil {
		h.topics[name] = topic{}
	}
	h.topics[name][events] = struct{}{}
	return events
}

func (h *hub) unsubscribe(name string, events chan []byte) {
	h.Lock()
	defer h.Unlock()
	delete(h.topics[name], events)
}

// A stream that has lagged is closed, and its client reconnects.
func (t topic) send(event []byte) {
	for events := range t {
		select {
		case events <- event:
		default:
			delete(t, events)
			close(events)
		}
	}
}

func (h *hub) events(w http.ResponseWriter, r *http.Request) {
	flusher := w.(http.Flusher)
	name := strings.TrimPrefix(r.URL.Path, "/events/")
	events := h.subscribe(name)
	defer h.unsubscribe(name, events)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	flusher.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event, open := <-events:
			for more := true; more; {
				if !open {
					return
				}
				if _, err := w.Write(event); err != nil {
					return
				}
				select {
				case event, open = <-events:
				default:
					more = false
				}
			}
			flusher.Flush()
		}
	}
}

func (h *hub) publish(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	lines := strings.NewReplacer("\r\n", "\ndata: ", "\r", "\ndata: ", "\n", "\ndata: ").Replace(string(data))
	h.Lock()
	h.topics[strings.TrimPrefix(r.URL.Path, "/publish/")].send([]byte("data: " + lines + "\n\n"))
	h.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (h *hub) heartbeats() {
	for range time.Tick(15 * time.Second) {
		h.Lock()
		for _, topic := range h.topics {
			topic.send(heartbeat)
		}
		h.Unlock()
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	port := os.Getenv("PORT")
	if port == "" {
		port = "0"
	}
	// Go itself sets the longest backlog, and TCP_NODELAY.
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	h := &hub{topics: map[string]topic{}}
	go h.heartbeats()
	http.HandleFunc("/events/", h.events)
	http.HandleFunc("/publish/", h.publish)
	fmt.Printf("go: http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
